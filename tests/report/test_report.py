"""The report: complete, self-contained, honest about what is missing, and right about where things lie."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.report import page, write_report
from bundle.report.collect import CaseResult, ClassResult, load_run, summarise_case
from bundle.report.pictures import Contours, Points, three_planes, view_around
from bundle.report.trouble import rank_cases, robust_z
from bundle.report.volumes import RasVolume, open_image, open_labels
from scripts.common.errors import BundleError

SPACING_MM = (2.0, 3.0, 4.0)
CLASSES = {"spleen": 1, "left_kidney": 3}
CASES = ("case_0", "case_1", "case_2", "case & <3>")
SIZE = 24
LPS = np.diag([-2.0, -3.0, 4.0, 1.0])


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def label_map(shift: int = 0, kidney: bool = True) -> np.ndarray:
    labels = np.zeros((SIZE,) * 3, np.uint8)
    labels[4 + shift : 10 + shift, 5:11, 6:12] = 1
    if kidney:
        labels[14:20, 5:11, 6:12] = 3
    return labels


def point(name: str, kept: bool, world_mm: list[float], score: float = 0.6) -> dict:
    return {
        "class": name,
        "label": CLASSES.get(name, 0),
        "support_voxel": [1, 1, 1],
        "support_mm": [0, 0, 0],
        "located_mm": world_mm,
        "similarity": {"m2": 0.9, "m4": 0.8},
        "score": score,
        "kept": kept,
        "reason": "" if kept else "similarity",
    }


def propagation(case: str, kept: dict[str, int], total: int = 4, not_located: tuple[str, ...] = ()) -> dict:
    points = [point(name, n < count, [0.0, float(n), 0.0]) for name, count in kept.items() for n in range(total)]
    settings = {"rule": "dual", "levels": ["m2", "m4"], "tau": 0.5, "classes": CLASSES}
    return {"case": case, "support": "case_0", **settings, "points": points, "not_located": list(not_located)}


def save(folder: Path, array: np.ndarray, case: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, LPS, dtype=array.dtype), folder / f"{case}.nii.gz")


def build_run(out: Path) -> Path:
    """A finished run of four cases: case_1 misses its kidney, case_2's maps disagree a little, the others are fine."""
    image = np.random.default_rng(0).integers(-200, 300, (SIZE,) * 3).astype(np.int16)
    for case in CASES:
        lost = case == "case_1"
        save(out / "images", image, case)
        save(out / "pseudo_labels", label_map(kidney=not lost), case)
        save(out / "predictions", label_map(shift=2 if case == "case_2" else 0), case)
        counts = {"spleen": 3, "left_kidney": 0 if lost else 4, "background": 4}
        content = propagation(case, counts, not_located=("left_kidney",) if lost else ())
        write_json(out / "propagation" / f"{case}.json", content)
    scribbles = np.zeros((SIZE,) * 3, np.uint8)
    scribbles[5:9, 7, 8], scribbles[15:19, 7, 8], scribbles[2:20, 20, 8] = 1, 3, 14
    save(out, scribbles, "scribbles")
    write_json(out / "cohort.json", cohort(out))
    write_json(out / "run.json", {"mode": "paper", "small": True, "weights": None})
    stage = {"inputs": "", "config": "", "done": True, "seconds": 75.0, "peak_memory_mb": 512.0}
    write_json(out / "state.json", {"propagation": stage})
    return out


def add_training(out: Path) -> None:
    flips = {"background": {"added": 0, "removed": 3}, "spleen": {"added": 3, "removed": 0}}
    rounds = [{"round": 7, "delta": {"background": 0.95, "spleen": 0.94}, "flips": flips, "voxels": 3}]
    write_json(out / "segmentation" / "flips.json", rounds)
    (out / "prnet" / "coarse").mkdir(parents=True)
    curve = "epoch,seconds,train_loss,val_offset_error_mm\n1,2.0,90,\n2,4.0,80,12\n"
    (out / "prnet" / "coarse" / "curve.csv").write_text(curve)


@pytest.fixture
def output(tmp_path) -> Path:
    """A finished run that a test may damage, without training curves."""
    return build_run(tmp_path / "out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The page of a whole run, for tests that only read it."""
    out = build_run(tmp_path_factory.mktemp("finished") / "out")
    add_training(out)
    return write_report(out)


def cohort(out: Path) -> dict:
    case = {"shape": [SIZE] * 3, "spacing_mm": SPACING_MM, "orientation": "LPS", "sha256": ""}
    images = {name: str(out / "images" / f"{name}.nii.gz") for name in CASES}
    return {
        "output_dir": str(out),
        "spacing_mm": [4, 4, 4],
        "cases": {name: {"id": name, "image": image, "source": image, **case} for name, image in images.items()},
        "rejected": {"bad": {"file": "bad.nii.gz", "reason": "the volume is constant: the value 0 everywhere"}},
        "support": "case_0",
        "scribbles": "scribbles.nii.gz",
        "classes": CLASSES,
        "background": 14,
        "assumptions": ["Strokes of liver count as background."],
    }


def tree_of(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))


def text_of(path: Path) -> str:
    return " ".join(" ".join(tree_of(path).itertext()).split())


def test_page_is_well_formed_and_self_contained(finished):
    path = finished
    assert path.parts[-2:] == ("report", "index.html")
    elements = list(tree_of(path).iter())
    targets = [element.get(key) for element in elements for key in ("src", "href") if element.get(key)]
    assert targets and all(target.startswith(("#", "data:image/")) for target in targets)
    assert not [element for element in elements if element.tag in ("script", "link", "iframe")]
    assert (
        "http://" not in path.read_text(encoding="utf-8")
        and "https://" not in path.read_text(encoding="utf-8")
        and "url(" not in path.read_text(encoding="utf-8")
    )
    identifiers = [element.get("id") for element in elements if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert {target[1:] for target in targets if target.startswith("#")} <= set(identifiers)
    assert path.stat().st_size < 2e6
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_page_tells_everything(finished):
    text = text_of(finished)
    for case in CASES:
        assert case in text
    for sentence in (
        "Research use only, not for diagnosis.",
        "Strokes of liver count as background.",
        "the volume is constant: the value 0 everywhere",
        "spleen = 1",
        "background strokes = 14",
        "paper, small configuration; points kept by rule dual (m2, m4, score above 0.5)",
        "Radiological convention",
        "3 of 4 (75%)",
        "0.90 0.80",
        "1 min 15 s",
        "512 MB",
        "Nothing was scored with true labels",
        "2 epochs in 4.0 s.",
        "7 0.940 to 0.950 3 0 3",
        "No training curve in prnet/fine",
        "No training curve in segmentation",
    ):
        assert sentence in text, sentence
    assert "Synthetic phantom" not in text


def test_look_first_table_has_the_troubled_cases_in_order(finished):
    path = finished
    table = next(element for element in tree_of(path).iter("table") if element.get("class") == "look")
    rows = [["".join(cell.itertext()) for cell in row] for row in table.find("tbody")]
    assert [row[1] for row in rows] == ["case_1", "case_2"]
    assert "left kidney: not located, none of 4 points kept" in rows[0][3]
    # spleens 6 wide, shifted by 2: Dice 2 * 4 / 12
    assert "spleen: pseudo label and prediction disagree, Dice 0.67" in rows[1][3]
    details = [element for element in tree_of(path).iter("details") if "case" in element.get("class", "").split()]
    names = [element.find("summary/strong").text for element in details]
    assert names == ["case_1", "case_2", "case & <3>", "case_0"]
    assert [element.get("open") for element in details] == ["open", "open", None, None]


def class_result(**values) -> ClassResult:
    return ClassResult("spleen", 1, **{"points": 10, "kept": 8, "score": 0.7, **values})


def test_ranking_weighs_every_sign():
    def good(volume: float = 200.0, **values) -> ClassResult:
        dice = {("pseudo", "prediction"): 0.9}
        return class_result(**{"volume_ml": {"prediction": volume}, "dice": dice, **values})

    found = {
        "fine": good(),
        "finer": good(210.0),
        "empty": good(0.0),
        "lost": good(kept=0, not_located=True, score=None),
        "few": good(kept=2),
        "apart": good(dice={("pseudo", "prediction"): 0.4}),
        "huge": good(2000.0),
        "weak": good(score=0.3),
        "doubted": good(predicted_dice=0.4, doubts=("not where the support's would be: Dice 0.30", "another")),
    }
    ranking = {
        entry.case: entry for entry in rank_cases({c: CaseResult(c, {"spleen": r}) for c, r in found.items()}, "fine")
    }
    weights = {case: round(entry.total, 6) for case, entry in ranking.items()}
    assert weights == {
        "empty": 3.0,
        "lost": 3.0,
        "huge": 2.0,
        "doubted": 1.8,
        "apart": 1.5,
        "weak": 1.0,
        "few": 0.5,
        "fine": 0.0,
        "finer": 0.0,
    }
    assert list(ranking) == list(weights)
    assert ranking["few"].signs[0].reason == "spleen: only 2 of 10 points kept"
    assert "2000 ml, much larger than usual" in ranking["huge"].signs[0].reason
    assert "the prediction is empty" in ranking["empty"].signs[0].reason
    doubt = "spleen: not where the support's would be: Dice 0.30; predicted Dice 0.40"
    assert [sign.reason for sign in ranking["doubted"].signs] == [doubt]
    assert "score low, mean 0.30 (z −5.4)" in ranking["weak"].signs[0].reason


def test_small_cohorts_are_not_judged_by_their_spread():
    results = {str(n): CaseResult(str(n), {"spleen": class_result(volume_ml={"pseudo": 10.0**n})}) for n in range(4)}
    assert [entry.total for entry in rank_cases(results)] == [0, 0, 0, 0]


def test_robust_z():
    # median 3, absolute deviations 2 1 0 1 97, their median 1
    np.testing.assert_allclose(robust_z(np.array([1.0, 2, 3, 4, 100])), 0.6745 * np.array([-2, -1, 0, 1, 97]))
    np.testing.assert_allclose(robust_z(np.array([1.0, 1, 1, 2])), 0.6745 * np.array([0, 0, 0, 20]))


def test_case_is_measured_in_millilitres_and_dice(output):
    save(output / "labels", label_map(shift=3), "case_2")
    run = load_run(output, output / "labels")
    spleen = summarise_case(run, "case_2").classes["spleen"]
    assert spleen.volume_ml["prediction"] == pytest.approx(216 * 24 / 1000)
    assert spleen.dice[("pseudo", "prediction")] == pytest.approx(2 * 4 / 12)
    assert spleen.dice[("pseudo", "truth")] == pytest.approx(2 * 3 / 12)
    assert spleen.dice[("prediction", "truth")] == pytest.approx(2 * 5 / 12)
    assert (spleen.points, spleen.kept, spleen.dropped, spleen.score) == (4, 3, {"similarity": 1}, 0.6)
    assert summarise_case(run, "case_1").classes["left_kidney"].not_located
    text = text_of(write_report(output, output / "labels"))
    assert "given for 1 cases, for scoring only" in text
    assert "0.500 0.833" in text
    assert "There is no true label for this case." in text


def test_the_self_check_is_told(output):
    spleen = {"predicted_dice": 0.412, "flagged": True, "reasons": ["not found"]}
    kidney = {"predicted_dice": 0.91, "interval": [0.88, 0.95], "flagged": False, "reasons": []}
    trust = {"reasons": ["the body is unlike"], "classes": {"spleen": spleen, "left_kidney": kidney}}
    write_json(output / "self_check" / "case_2.json", trust)
    classes = summarise_case(load_run(output), "case_2").classes
    assert classes["spleen"].doubts == ("the body is unlike", "not found") and classes["left_kidney"].doubts == ()
    assert classes["left_kidney"].predicted_dice == 0.91
    assert summarise_case(load_run(output), "case_3").classes["spleen"].predicted_dice is None
    assert "Against the given true labels" not in text_of(write_report(output))
    save(output / "labels", label_map(shift=3), "case_2")
    text = text_of(write_report(output, output / "labels"))
    assert "Against the given true labels, 2 results: mean absolute error" in text
    assert "spleen: the body is unlike; predicted Dice 0.41" in text and "Predicted Dice" in text
    assert "0.91 (0.88 to 0.95)" in text
    assert "spleen 0.41 0.41 (case_2) 1 of 1" in text
    assert "Cases that were checked: 1. So few share most of their errors" in text


def test_the_modes_own_networks_have_a_curve(output):
    write_json(output / "run.json", {"mode": "default"})
    (output / "embedding").mkdir()
    (output / "embedding" / "curve.csv").write_text("epoch,train_loss\n1,2.5\n2,1.5\n")
    text = text_of(write_report(output))
    assert "Embedding network 2 epochs" in text and "position network" not in text


def test_what_votes_asked_of_a_point_is_told(output):
    for path in (output / "propagation").glob("*.json"):
        probabilities = {
            "rule": "probabilities",
            "levels": [],
            "tau": None,
            "least_point_probability": 0.8,
            "reach_mm": 24.0,
        }
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | probabilities)
    text = text_of(write_report(output))
    assert "points kept by rule probabilities (probability above 0.8, moved by at most 24 mm" in text


def test_the_region_is_outlined_and_says_what_was_cut_off(output):
    before = write_report(output).read_text(encoding="utf-8")
    grown = output / "support_mask" / "pseudo_labels"
    grown.mkdir(parents=True)
    shutil.copy(output / "pseudo_labels" / "case_0.nii.gz", grown)
    record = {
        "cut_off": {"spleen": 0.25, "left_kidney": 0.0},
        "border_confidence": {"spleen": 0.95, "left_kidney": 0.72},
    }
    (grown / "case_0.json").write_text(json.dumps(record))
    path = write_report(output)
    text = text_of(path)
    assert f"run again with --region: {grown / 'case_0.nii.gz'}" in text
    assert text.count("was cut off at a neck") == 1 and "25% of what grew" in text
    assert text.count("no clear border") == 1 and "no clear border (sureness 0.72)" in text
    assert path.read_text(encoding="utf-8").count('class="c pseudo"') > before.count('class="c pseudo"')
    (output / "run.json").write_text(json.dumps({"support_mask": str(output / "pseudo_labels" / "case_0.nii.gz")}))
    assert "was cut off" not in text_of(write_report(output)), "a region that was handed in was not cut"


def test_how_well_the_supports_labels_return_is_told(output):
    assert "and back agree" not in text_of(write_report(output)), "mode paper sends no labels"
    for path, spleen in zip(sorted((output / "propagation").glob("case_?.json")), (1.0, 0.4, 0.6), strict=False):
        dice = {"spleen": spleen, "left_kidney": 0.9}
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"round_trip_dice": dice})
    text = text_of(write_report(output))
    assert "and back agree with the region by a mean Dice of 0.70" in text, "spleen 0.5, left kidney 0.9"
    assert "comes back from other cases agrees by Dice 0.50" in text


def test_partial_run_says_what_is_missing(output):
    for path in [*(output / "predictions").iterdir(), output / "state.json"]:
        path.unlink()
    (output / "pseudo_labels" / "case_2.nii.gz").unlink()
    (output / "propagation" / "case_2.json").unlink()
    text = text_of(write_report(output))
    assert "inference did not run" in text
    assert "There is no pseudo label for this case." in text
    assert "Not propagated yet: there are no points for this case." in text
    assert "Label correction did not run: no flips are recorded." in text
    assert "No times are recorded" in text


def test_results_without_cohort_file_are_reported(output):
    (output / "cohort.json").unlink()
    text = text_of(write_report(output))
    assert "There is no readable cohort.json" in text
    assert "No support is recorded" in text
    assert "case_2" in text and "spleen = 1" in text


def test_empty_folder_gives_a_page(tmp_path):
    assert "There is no case" in text_of(write_report(tmp_path))


def test_damaged_files_become_sentences(output):
    (output / "propagation" / "case_0.json").write_text("{")
    write_json(output / "propagation" / "case_2.json", [1])
    (output / "pseudo_labels" / "case_2.nii.gz").write_bytes(b"no volume")
    (output / "images" / "case_1.nii.gz").write_bytes(b"no volume")
    (output / "prnet" / "coarse").mkdir(parents=True)
    (output / "prnet" / "coarse" / "curve.csv").write_text("epoch,train_loss\n1,much\n")
    text = text_of(write_report(output))
    assert "case_0.json is damaged and was left out." in text
    assert "case_2.json holds no points and was left out." in text
    assert "case_2.nii.gz of the pseudo maps cannot be read" in text
    assert "No pictures: [stage report] the volume cannot be read" in text
    assert "No training curve in prnet/coarse" in text


def test_map_on_another_grid_is_left_out(output):
    save(output / "predictions", label_map()[:-1], "case_0")
    result = summarise_case(load_run(output), "case_0")
    assert result.maps == ("pseudo",)
    assert result.notes == ("The prediction map lies on another grid than the others and is left out.",)


def test_missing_folders_are_errors(tmp_path, output):
    with pytest.raises(BundleError, match="the work directory is missing"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="folder is missing"):
        write_report(output, tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["dataset", "assumption"])
def test_phantom_is_said_loudly(output, place):
    if place == "dataset":
        write_json(output / "dataset.json", {"phantom": True})
    else:
        write_json(output / "cohort.json", cohort(output) | {"assumptions": ["The cohort is a synthetic phantom."]})
    warning = next(p for p in tree_of(write_report(output)).iter("p") if p.get("class") == "phantom")
    assert warning.text.startswith("Synthetic phantom")


def test_scores_of_the_evaluation_are_shown(output):
    score = {"dice": 0.91, "hd95_mm": 4.25, "surface_dice_2mm": None, "status": "ok"}
    summary = {"dice_mean": 0.9, "dice_sd": 0.02, "hd95_mean_mm": 4.0, "hd95_sd_mm": None, "n": 3, "absent": 1}
    content = {"cases": {"case_1": {"spleen": score}}, "classes": {"spleen": summary}, "mean_dice": 0.9}
    write_json(output / "report" / "metrics.json", content)
    text = text_of(write_report(output))
    assert "Mean Dice over classes 0.900." in text
    assert "spleen 0.900 ± 0.020 4.0 – 3 1" in text
    assert "case_1 spleen 0.910 4.2 – ok" in text


def test_pictures_stop_at_the_budget(output, monkeypatch):
    monkeypatch.setattr(page, "PAGE_BUDGET_BYTES", 1)
    text = text_of(write_report(output))
    assert text.count("The page's budget for pictures went to the cases ranked before this one.") == len(CASES) - 1


def test_many_cases_and_classes_get_smaller_pictures(output):
    run = load_run(output)
    many = type(run)(run.output_dir, {}, {str(n): n for n in range(1, 14)}, tuple(map(str, range(25))), {}, {}, ())
    assert page._tile_pixels(run) == page.PIXEL_RANGE[1]
    pixels = page._tile_pixels(many)
    assert 25 * 14 * 3 * pixels**2 * page.BYTES_PER_PIXEL < page.PAGE_BUDGET_BYTES


def pictures_of(markup: str) -> list[np.ndarray]:
    """Grey values (rows, columns) of the axial, coronal and sagittal JPEG."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR"])
def test_slices_are_in_radiological_convention(tmp_path, make_affine, write_volume, codes):
    """A bright block at the patient's right, anterior, superior corner lies at the top left of every plane."""
    ras = np.full((16, 16, 16), -1000, np.int16)
    ras[8:, 8:, 8:] = 500
    orientation = nib.orientations.axcodes2ornt(tuple(codes))
    stored = nib.apply_orientation(ras, nib.orientations.ornt_transform(nib.io_orientation(np.eye(4)), orientation))
    path = write_volume(tmp_path, stored, make_affine(codes, (2.0, 2.0, 2.0)))
    volume = open_image(path)
    np.testing.assert_array_equal(volume.array, ras)
    view = view_around((0, 0, 0), (15, 15, 15), (12, 12, 12), volume, smallest_mm=0)
    axial, coronal, sagittal = pictures_of(three_planes(volume, view, pixels=64))
    for picture in (axial, coronal):
        assert picture[:8, :8].min() > 200 and picture[8:].max() < 60 and picture[:, 8:].max() < 60
    assert sagittal[:8, :8].min() > 200 and sagittal[8:].max() < 60  # anterior on the left


def test_scaled_images_are_shown_in_hounsfield_units(tmp_path):
    stored = nib.Nifti1Image(np.full((8, 8, 8), 3, np.uint8), np.eye(4))
    stored.header.set_slope_inter(10, -50)
    nib.save(stored, tmp_path / "scaled.nii")
    volume = open_image(tmp_path / "scaled.nii")
    assert (volume.slope, volume.intercept) == (10, -50)
    assert np.unique(volume.plane(2, 0)).tolist() == [-20]
    with pytest.raises(BundleError, match="not 3-D"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4)), tmp_path / "flat.nii")
        open_image(tmp_path / "flat.nii")


def test_label_maps_may_be_stored_as_floats(tmp_path, make_affine, write_volume):
    path = write_volume(tmp_path, label_map().astype(np.float32), make_affine("RAS", SPACING_MM))
    labels = open_labels(path)
    assert labels.array.dtype.kind == "i"
    np.testing.assert_array_equal(labels.array, label_map())


def test_points_contours_and_proportions_are_true_to_millimetres():
    """Hand-computed on a 10 x 10 x 10 volume of 2 x 3 x 4 mm: the cube is 40 mm wide, centred on voxel 4.5."""
    affine = np.diag([*SPACING_MM, 1.0])
    volume = RasVolume(np.zeros((10, 10, 10), np.int16), affine)
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:5, 6:8, 5] = 3
    view = view_around((0, 0, 0), (9, 9, 9), (3, 6, 5), volume, smallest_mm=0)
    assert view.side_mm == 40
    points = Points(np.array([[3.0, 6, 5], [0, 0, 0]]), np.array([True, False]), ["near", "far"], "#fff")
    contour = Contours(RasVolume(labels, affine), 3, "kidney", "prediction", "#fff")
    axial = three_planes(volume, view, 64, [contour], [points]).split("</svg>")[0]
    # x = 20 - (i - 4.5) * 2, y = 20 - (j - 4.5) * 3
    assert '<circle class="kept" cx="23.0" cy="15.5"' in axial
    assert '<path class="far dropped" stroke="#fff" d="M29 34h.1"/>' in axial
    assert '<image x="10.00" y="5.00" width="20.00" height="30.00"' in axial
    outline = re.search(r'd="M([^"Z]+)Z"><title>kidney, prediction', axial)
    xy = np.array(outline.group(1).split(), dtype=float).reshape(-1, 2)
    # the outline runs half-way between voxel centres: i from 1.5 to 4.5, j from 5.5 to 7.5
    np.testing.assert_allclose(xy.max(axis=0), [26, 17], atol=0.05)
    np.testing.assert_allclose(xy.min(axis=0), [20, 11], atol=0.05)


def test_strange_names_are_escaped(finished):
    markup = finished.read_text(encoding="utf-8")
    assert "case & <3>" not in markup
    assert "case & <3>" in unescape(markup)
