"""What the stage reads and writes, and when it does so again."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.overlap import dice_of
from scripts.common.work_folder import WorkFolder
from scripts.data.case import Case
from scripts.data.cohort import Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.records import PropagationRecord, PseudoLabelRecord
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet
from scripts.pseudo_labels.settings import GeodesicSettings, RefinementSettings, SupportLimits
from scripts.pseudo_labels.stage import PseudoLabelStage, geodesic_image, volumes_ml
from tests.paths import CONFIGS
from tests.pseudo_labels.three_blocks import (
    CLASSES,
    FROM_POINTS,
    POINTS,
    SHAPE,
    SPACING_MM,
    Point,
    hu_volume,
    point_set,
    truth_values,
)

TRUTH = truth_values()
REFINE = RefinementSettings(refine=True)


@pytest.fixture
def make_case(tmp_path, make_affine, write_volume):
    """`make_case(codes, oblique_deg, name)`: the image of three bright blocks, and its case."""

    def make(codes="LAS", oblique_deg=0.0, name="case_1"):
        affine = make_affine(codes, SPACING_MM, oblique_deg).astype(np.float32).astype(np.float64)
        path = write_volume(tmp_path, hu_volume(), affine, f"{name}.nii.gz")
        return Case(name, path, path, SHAPE, SPACING_MM, tuple(map(tuple, affine.tolist())), codes, f"sha-{name}")

    return make


def affine_of(case):
    return np.array(case.affine)


def cohort_of(folder, *cases, spacing_mm=(4.0, 4.0, 4.0)):
    return Cohort(folder, spacing_mm, {case.id: case for case in cases}, {}, cases[0].id, None, CLASSES, 14, ())


def propagated(folder, case, points=POINTS, labels=None):
    """Write the record of a case's points."""
    located = point_set(points, affine_of(case))
    located = located if labels is None else replace(located, labels=np.array(labels))
    record = PropagationRecord(case.id, "support", {"name": "dual"}, (4.0, 4.0, 4.0), CLASSES, located)
    write_json(WorkFolder(folder).propagation.record(case.id), record.to_json())


def cached(folder, case, hu=None):
    """Write what the cache holds of a canonical case at the blocks' own spacing: image and body."""
    image = normalise_hu(hu_volume() if hu is None else hu)
    write_nifti(folder / "cache" / case.id / "image.nii", image, affine_of(case))
    write_nifti(folder / "cache" / case.id / "body.nii", np.ones(SHAPE, np.uint8), affine_of(case))


def stage(folder, *cases, settings=FROM_POINTS, spacing_mm=(4.0, 4.0, 4.0), **more):
    work = WorkFolder(folder)
    cohort = cohort_of(folder, *cases, spacing_mm=spacing_mm)
    return PseudoLabelStage(cohort, work.propagation.path, work.pseudo_labels.path, settings, **more)


def label_map(folder, name="case_1"):
    image = nib.load(WorkFolder(folder).pseudo_labels.label(name))
    return np.asarray(image.dataobj), image


@pytest.mark.parametrize(("codes", "oblique_deg"), [("LAS", 0), ("LPS", 12)])
def test_label_map_and_record_lie_side_by_side(tmp_path, make_case, codes, oblique_deg):
    case = make_case(codes, oblique_deg)
    propagated(tmp_path, case)
    assert stage(tmp_path, case).run() == ["case_1"]
    label, image = label_map(tmp_path)
    np.testing.assert_array_equal(label, TRUTH)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, nib.load(case.image).affine)
    file = WorkFolder(tmp_path).pseudo_labels.record("case_1")
    record = PseudoLabelRecord.read(file)
    assert (record.case, record.classes, record.not_located, record.given) == ("case_1", CLASSES, (), False)
    assert record.volume_ml["spleen"] == pytest.approx(7 * 7 * 9 * 15 / 1000)
    assert (record.settings["truncation"], record.settings["opening"]["opening_share"]) == (1.0, 0.5)
    assert list(read_json(file)["files"]) == ["case_1.nii.gz"]


def test_other_cases_have_about_the_supports_volumes(tmp_path, make_case):
    support, other = make_case(name="case_1"), make_case(name="case_2")
    for case in (support, other):
        propagated(tmp_path, case)
    limited = replace(FROM_POINTS, support_limits=SupportLimits(0.1, 0.5))
    stage(tmp_path, support, other, settings=limited).run()
    np.testing.assert_array_equal(label_map(tmp_path)[0], TRUTH)
    label = label_map(tmp_path, "case_2")[0]
    for value in CLASSES.values():
        theirs, ours = np.equal(TRUTH, value), label == value
        assert ours.sum() == theirs.sum() // 2 and not (ours & ~theirs).any()


def test_support_limits_are_for_points_alone():
    with pytest.raises(BundleError, match="from points alone"):
        GeodesicSettings(support_limits=SupportLimits())


def test_volumes_count_neither_background_nor_undecided():
    channels = np.array([0, 1, 1, 3, 255, 255], dtype=np.uint8).reshape(6, 1, 1)
    affine = np.diag([5.0, 10.0, -20.0, 1.0])  # voxels of 1 ml
    assert volumes_ml(channels, CLASSES, affine) == {"spleen": 2.0, "left_kidney": 0.0, "liver": 1.0}


def test_probabilities_are_read_beside_the_points(tmp_path, make_case, write_volume):
    case = make_case("RAS")
    propagated(tmp_path, case, [point for point in POINTS if point.name != "liver"])
    settings = replace(FROM_POINTS, seed_probability=0.85, em=None)
    with pytest.raises(BundleError, match=r"case case_1(?s:.*)no class probabilities(?s:.*)_probabilities.nii.gz"):
        stage(tmp_path, case, settings=settings).run()
    probabilities = np.zeros((*SHAPE, 4), dtype=np.uint8)
    probabilities[..., 3] = np.where(TRUTH == 6, 255, 0)
    probabilities[..., 0] = np.where(TRUTH == 6, 0, 128)
    write_volume(tmp_path / "propagation", probabilities, affine_of(case), "case_1_probabilities.nii.gz")
    stage(tmp_path, case, settings=settings).run()
    np.testing.assert_array_equal(label_map(tmp_path)[0], TRUTH)
    write_volume(tmp_path / "propagation", probabilities // 2, affine_of(case), "case_1_probabilities.nii.gz")
    assert stage(tmp_path, case, settings=settings).run() == ["case_1"], "they are among its inputs"


def test_an_organ_of_air_and_wall_has_its_likely_voxels_beyond_the_edge(tmp_path, make_case, write_volume):
    """A voxel of 0.7 beside the block costs the geodesic mask less than a fifth of the expected Dice."""
    case = make_case("RAS")
    propagated(tmp_path, case)
    settings = replace(FROM_POINTS, seed_probability=0.85, em=None, least_expected_share=0.8)
    likely = np.where(TRUTH == 6, 1.0, 0.0)
    beside = tuple(np.argwhere((np.roll(TRUTH == 6, 1, axis=0)) & (TRUTH == 0))[0])
    likely[beside] = 0.7
    probabilities = np.zeros((*SHAPE, 4), dtype=np.uint8)
    probabilities[..., 3] = 255 * likely
    probabilities[..., 0] = 255 * (1 - likely)
    write_volume(tmp_path / "propagation", probabilities, affine_of(case), "case_1_probabilities.nii.gz")
    record = tmp_path / "support.json"
    stage(tmp_path, case, settings=settings, support_mask_record=record).run()
    assert label_map(tmp_path)[0][beside] == 0, "without a record, no organ is known to hold edges"
    write_json(record, PseudoLabelRecord("case_0", CLASSES, kinds={"liver": "hollow organ with its wall"}).to_json())
    assert stage(tmp_path, case, settings=settings, support_mask_record=record).run() == ["case_1"]
    assert label_map(tmp_path)[0][beside] == 6
    assert ((label_map(tmp_path)[0] == 6) == (likely > 0)).all()


def test_body_and_intensities_come_from_the_cache(tmp_path, make_case, write_volume):
    """The default settings: probabilities sharpened at the working spacing, nothing outside the body."""
    case = make_case("RAS")
    propagated(tmp_path, case)
    cached(tmp_path, case)
    fused = np.stack([value == TRUTH for value in (0, *CLASSES.values())], axis=-1)
    write_volume(
        tmp_path / "propagation", (fused * 255).astype(np.uint8), affine_of(case), "case_1_probabilities.nii.gz"
    )
    body = np.ones(SHAPE, np.uint8)
    body[:, :, 8:] = 0
    write_nifti(tmp_path / "cache" / "case_1" / "body.nii", body, affine_of(case))
    stage(tmp_path, case, settings=GeodesicSettings(), spacing_mm=SPACING_MM).run()
    label = label_map(tmp_path)[0]
    assert not label[body == 0].any()
    for value in CLASSES.values():
        assert dice_of(label == value, TRUTH * body == value) > 0.75, "smoothed, and the blocks have few voxels"


def test_the_cached_volume_serves_at_the_cohorts_spacing(tmp_path, make_case, write_volume):
    case = make_case("RAS")
    cached(tmp_path, case)
    write_volume(tmp_path, hu_volume() + 100, affine_of(case), "case_1.nii.gz")
    cohort = cohort_of(tmp_path, case, spacing_mm=SPACING_MM)
    image = geodesic_image(cohort, case, replace(FROM_POINTS, geodesic_spacing_mm=SPACING_MM))
    np.testing.assert_array_equal(image.array, normalise_hu(hu_volume()))
    assert not (geodesic_image(cohort, case, FROM_POINTS).array == image.array).all(), "else it is the original"


def test_an_accepted_label_map_is_taken_as_it_is(tmp_path, make_case, write_volume):
    case = make_case()
    propagated(tmp_path, case)
    drawn = np.where(TRUTH == 3, 0, TRUTH)
    drawn[0, 0, 0] = 9  # of no class
    accepted = write_volume(tmp_path, drawn.astype(np.int16), affine_of(case), "accepted.nii.gz")
    stage(tmp_path, case, given={"case_1": accepted}).run()
    label, image = label_map(tmp_path)
    np.testing.assert_array_equal(label, np.where(TRUTH == 3, 0, TRUTH))
    assert image.get_data_dtype() == np.uint8
    record = PseudoLabelRecord.read(WorkFolder(tmp_path).pseudo_labels.record("case_1"))
    assert record.given and record.not_located == (), "a class that it lacks is absent, not unlocated"
    propagated(tmp_path, case, POINTS[1:])
    assert stage(tmp_path, case, given={"case_1": str(accepted)}).run() == [], "points do not matter"
    write_volume(tmp_path, TRUTH, affine_of(case), "accepted.nii.gz")
    assert stage(tmp_path, case, given={"case_1": accepted}).run() == ["case_1"]
    assert stage(tmp_path, case).run() == ["case_1"], "it is no longer given"
    with pytest.raises(BundleError, match=r"case case_1(?s:.*)given label map is missing"):
        stage(tmp_path, case, given={"case_1": tmp_path / "nothing.nii.gz"})


def test_only_what_changed_is_labelled_again(tmp_path, make_case):
    first, second, third = (make_case(name=name) for name in "abc")
    for case in (first, second):
        propagated(tmp_path, case)

    def labelled(settings=FROM_POINTS, case_ids=None):
        return stage(tmp_path, first, second, third, settings=settings).run(case_ids)

    labels = WorkFolder(tmp_path).pseudo_labels
    assert labelled() == ["a", "b"]
    assert labelled() == []
    propagated(tmp_path, second, [point._replace(kept=point.name != "liver") for point in POINTS])
    assert labelled() == ["b"]
    labels.label("a").unlink()
    assert labelled() == ["a"]
    labels.label("a").write_bytes(labels.label("a").read_bytes()[:-20])
    assert labelled() == ["a"], "cut"
    labels.record("a").write_text("{")
    assert labelled(case_ids=["a"]) == ["a"]
    assert labelled(replace(FROM_POINTS, lam=0.9)) == ["a", "b"]


def test_ranks_share_the_cases(tmp_path, make_case, monkeypatch):
    cases = [make_case(name=name) for name in "abc"]
    for case in cases:
        propagated(tmp_path, case)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    assert stage(tmp_path, *cases).run() == ["a", "c"]
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert stage(tmp_path, *cases).run() == ["b"]


def test_problems_are_named(tmp_path, make_case):
    case = make_case()
    labels = stage(tmp_path, case)
    with pytest.raises(
        BundleError, match=r"no case has propagated points(?s:.*)propagation(?s:.*)expected: what `oneshot`"
    ):
        labels.run()
    propagated(tmp_path, case, [Point("liver", (1, 1, 1))], labels=[9])
    with pytest.raises(BundleError, match=r"case case_1(?s:.*)other classes(?s:.*)found: \[9\]"):
        labels.run()
    with pytest.raises(BundleError, match=r"unknown case(?s:.*)expected: case_1(?s:.*)found: case_2"):
        labels.run(["case_2"])


def test_refinement_needs_its_network_and_the_cached_grid(tmp_path, make_case):
    case = make_case()
    with pytest.raises(BundleError, match="refinement needs the fine PRNet"):
        stage(tmp_path, case, settings=replace(FROM_POINTS, refinement=REFINE))
    (tmp_path / "model.pt").touch()
    coarser = replace(FROM_POINTS, refinement=REFINE, geodesic_spacing_mm=(3, 3, 3))
    with pytest.raises(BundleError, match=r"cached volumes' grid(?s:.*)\[4.0, 4.0, 4.0\] mm(?s:.*)found: \(3.0"):
        stage(tmp_path, case, settings=coarser, fine_dir=tmp_path)


def test_the_network_is_loaded_only_where_there_is_something_to_do(tmp_path, make_case):
    case = make_case("RAS")
    propagated(tmp_path, case, [])
    cached(tmp_path, case)
    card = {"patch_size": [32, 16, 16], "width": 2, "pooling": 1, "spacing_mm": SPACING_MM, "max_offset_mm": [9, 9, 9]}
    settings = replace(FROM_POINTS, refinement=REFINE, geodesic_spacing_mm=SPACING_MM)

    def refined():
        options = {"settings": settings, "spacing_mm": SPACING_MM, "fine_dir": tmp_path / "fine"}
        return stage(tmp_path, case, **options).run()

    write_model(tmp_path / "fine", PRNet((32, 16, 16), width=2), card)
    assert refined() == ["case_1"]
    assert not label_map(tmp_path)[0].any(), "refinement of an empty label map changes nothing"
    write_json(tmp_path / "fine" / "model.json", {**card, "spacing_mm": [9, 9, 9]})
    assert refined() == []
    write_json(tmp_path / "fine" / "model.json", {**card, "body_only": True})
    assert refined() == ["case_1"], "its features are others"
    write_json(tmp_path / "fine" / "model.json", {**card, "body_only": True, "spacing_mm": [9, 9, 9]})
    WorkFolder(tmp_path).pseudo_labels.label("case_1").unlink()
    with pytest.raises(BundleError, match="trained with another spacing_mm"):
        refined()


def test_the_support_s_volumes_are_those_of_refined_borders(tmp_path, make_case):
    """They are inputs of the others, which are looked at before any case is made."""
    support, other = make_case("RAS", name="case_1"), make_case("RAS", name="case_2")
    for case in (support, other):
        propagated(tmp_path, case)
        cached(tmp_path, case)
    card = {"patch_size": [32, 16, 16], "width": 2, "pooling": 1, "spacing_mm": SPACING_MM, "max_offset_mm": [9, 9, 9]}
    write_model(tmp_path / "fine", PRNet((32, 16, 16), width=2), card)
    settings = replace(FROM_POINTS, refinement=REFINE, geodesic_spacing_mm=SPACING_MM, support_limits=SupportLimits())
    options = {"settings": settings, "spacing_mm": SPACING_MM, "fine_dir": tmp_path / "fine"}
    assert stage(tmp_path, support, other, **options).run() == ["case_1", "case_2"]
    records = WorkFolder(tmp_path).pseudo_labels
    refined_ml = PseudoLabelRecord.read(records.record("case_1")).volume_ml
    assert stage(tmp_path, support, other, **options).inputs("case_2")["support"] == refined_ml


def test_the_config_labels_a_prepared_cohort(tmp_path, make_case):
    case, _ = make_case(name="case_1"), make_case("LPS", name="case_2")
    (tmp_path / "images").mkdir()
    for name in ("case_1.nii.gz", "case_2.nii.gz"):
        (tmp_path / name).rename(tmp_path / "images" / name)
    strokes = np.zeros(SHAPE, dtype=np.uint8)
    strokes[6, 6, 7], strokes[17, 6, 7], strokes[12, 15, 7], strokes[0, 0, 0] = 1, 3, 6, 14
    nib.save(nib.Nifti1Image(strokes, affine_of(case)), tmp_path / "strokes.nii.gz")
    support = tmp_path / "images" / "case_1.nii.gz"
    output_dir = tmp_path / "output"
    prepare_cohort(tmp_path / "images", output_dir, (4, 4, 4), support, tmp_path / "strokes.nii.gz", CLASSES, 14)
    propagated(output_dir, case)
    files = [str(CONFIGS / name) for name in ("pseudo_labels.json", "paper/pseudo_labels.json")]
    run("run", config_file=files, output_dir=str(output_dir), device="cpu")
    label, image = label_map(output_dir)
    np.testing.assert_array_equal(label, TRUTH)
    np.testing.assert_array_equal(image.affine, affine_of(case))
