import csv
import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from scripts.common.errors import BundleError
from scripts.quality.class_scores import score_masks
from scripts.quality.evaluation import evaluate_folder, format_table
from tests.pipeline_fixtures import save_segments

SPACING = (2.0, 3.0, 5.0)
AFFINE = np.diag([*SPACING, 1.0])
CLASSES = {"spleen": 1, "left_kidney": 3, "liver": 6}


def boxes(*parts, shape=(20, 20, 20)):
    label = np.zeros(shape, np.uint8)
    for value, (x, y, z) in parts:
        label[x, y, z] = value
    return label


def save(folder, name, array, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")


def test_scores_by_hand_with_anisotropic_spacing():
    label = boxes((1, (slice(5, 9), slice(5, 9), slice(5, 9)))) == 1
    predicted = boxes((1, (slice(5, 9), slice(5, 9), slice(6, 10)))) == 1
    scores = score_masks(predicted, label, AFFINE)
    assert scores["dice"] == pytest.approx(2 * 48 / 128)
    assert scores["hd95_mm"] == pytest.approx(5.0)  # one voxel along z
    # 56 surface voxels each; the 16 of the cap that sticks out are 5 mm off, all others 2 mm (along x) or less
    assert scores["surface_dice_2mm"] == pytest.approx(1 - 32 / 112)
    assert scores["status"] == "ok"
    assert scores["label_ml"] == pytest.approx(64 * 30 / 1000)


def test_what_is_absent_or_not_predicted_has_its_own_scores():
    mask, nothing = boxes((1, (slice(5, 9),) * 3)) == 1, np.zeros((20, 20, 20), bool)
    assert score_masks(mask, nothing, AFFINE) == {
        "dice": None, "hd95_mm": None, "surface_dice_2mm": None, "status": "absent", "absent": True,
        "label_ml": 0.0, "predicted_ml": pytest.approx(1.92),
    }  # fmt: skip
    assert score_masks(nothing, mask, AFFINE) == {
        "dice": 0.0, "hd95_mm": None, "surface_dice_2mm": 0.0, "status": "not predicted", "absent": False,
        "label_ml": pytest.approx(1.92), "predicted_ml": 0.0,
    }  # fmt: skip
    assert score_masks(nothing, nothing, AFFINE)["status"] == "absent"


def test_volumes_of_a_sheared_grid_are_those_of_its_slanted_voxels():
    sheared = AFFINE.copy()
    sheared[1, 2] = 12.0  # edges of 13 mm along z, 5 mm high
    mask = boxes((1, (slice(5, 9),) * 3)) == 1
    scores = score_masks(mask, mask, sheared)
    assert (scores["label_ml"], scores["predicted_ml"]) == pytest.approx((1.92, 1.92))


def test_cropping_changes_nothing():
    rng = np.random.default_rng(0)
    label, predicted = np.zeros((2, 24, 22, 20), bool)
    label[:6, 8:15, 12:] = rng.random((6, 7, 8)) > 0.3  # touches two borders
    predicted[1:9, 7:15, 11:19] = rng.random((8, 8, 8)) > 0.3
    full = [torch.from_numpy(mask)[None, None] for mask in (predicted, label)]
    scores = score_masks(predicted, label, AFFINE)
    hd95 = compute_hausdorff_distance(*full, include_background=True, percentile=95, spacing=SPACING)
    surface = compute_surface_dice(*full, [2.0], include_background=True, spacing=SPACING)
    assert scores["hd95_mm"] == pytest.approx(hd95.item(), abs=1e-6)
    assert scores["surface_dice_2mm"] == pytest.approx(surface.item(), abs=1e-6)


@pytest.fixture
def folders(tmp_path):
    spleen = (slice(2, 6), slice(2, 6), slice(2, 6))
    kidney = (slice(10, 14), slice(10, 14), slice(10, 14))
    save(tmp_path / "labels", "a", boxes((1, spleen), (3, kidney)))
    save(tmp_path / "predictions", "a", boxes((1, spleen), (6, kidney)))
    save(tmp_path / "labels", "b", boxes((1, spleen)))
    save(tmp_path / "predictions", "b", boxes((1, (slice(2, 6), slice(2, 6), slice(4, 8)))))
    return tmp_path / "predictions", tmp_path / "labels"


def test_segments_are_recognised_by_their_names_alone(folders, tmp_path, caplog):
    predictions, labels = folders
    spleen = boxes((1, (slice(2, 6), slice(2, 6), slice(2, 6))))
    (labels / "a.nii.gz").unlink()
    file = save_segments(labels / "a.seg.nrrd", spleen * 2, {"kidney": 1, "Spleen": 2, "outside": 3}, AFFINE)
    assert evaluate_folder(predictions, labels, CLASSES, ["a"])["cases"]["a"]["spleen"]["status"] == "ok"
    assert f"a: {file}: Segments that are called like no class are not taken: kidney." in caplog.messages
    save_segments(file, spleen, {"Milz": 1}, AFFINE)
    with pytest.raises(BundleError, match=r"\[stage evaluation, case a\] no segment is called like a class"):
        evaluate_folder(predictions, labels, CLASSES, ["a"])


def test_absent_and_not_predicted(folders, tmp_path):
    result = evaluate_folder(*folders, CLASSES, json_file=tmp_path / "out" / "metrics.json")
    kidney = result["cases"]["a"]["left_kidney"]
    assert (kidney["dice"], kidney["hd95_mm"], kidney["surface_dice_2mm"]) == (0.0, None, 0.0)
    assert (kidney["status"], kidney["absent"]) == ("not predicted", False)
    liver = result["cases"]["a"]["liver"]
    assert (liver["dice"], liver["hd95_mm"], liver["surface_dice_2mm"]) == (None, None, None)
    assert (liver["status"], liver["absent"]) == ("absent", True)
    assert liver["predicted_ml"] == pytest.approx(64 * 0.03)
    spleen = result["classes"]["spleen"]
    assert (spleen["dice_mean"], spleen["n"]) == (pytest.approx(0.75), 2)
    assert spleen["dice_sd"] == pytest.approx(0.5 / 2**0.5)
    assert spleen["hd95_mean_mm"] == pytest.approx(5.0)
    assert result["classes"]["left_kidney"]["dice_sd"] is None
    assert result["classes"]["left_kidney"]["n"] == 1
    assert result["classes"]["liver"]["dice_mean"] is None
    assert result["mean_dice"] == pytest.approx((0.75 + 0.0) / 2)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8")) == result
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[2] == {
        "case": "a", "class": "liver", "dice": "", "hd95_mm": "", "surface_dice_2mm": "", "status": "absent",
        "absent": "True", "label_ml": "0.0", "predicted_ml": rows[2]["predicted_ml"],
    }  # fmt: skip


def test_a_class_with_another_value_in_the_predictions_is_told(folders, caplog):
    told = "the predictions seem to have other values of these classes: --predicted-classes left_kidney:6"
    evaluate_folder(*folders, CLASSES)
    assert told in caplog.messages
    caplog.clear()
    scores = evaluate_folder(*folders, CLASSES, predicted_classes={"left_kidney": 6})
    assert scores["classes"]["left_kidney"]["dice_mean"] == 1.0 and caplog.messages == []


def test_table(folders):
    table = format_table(evaluate_folder(*folders, CLASSES)).splitlines()
    assert table[1].split()[:4] == ["spleen", "2", "0.750", "±"]
    assert table[2].endswith("absent in 1, not predicted in 1")
    assert table[3].split()[:3] == ["liver", "0", "-"]
    assert table[4] == "mean Dice over classes 0.375, 2 cases"


def test_another_order_of_axes_is_the_same_label(folders):
    predictions, labels = folders
    before = evaluate_folder(predictions, labels, CLASSES)
    file = labels / "a.nii.gz"
    nib.save(nib.load(file).as_reoriented([[1, -1], [2, 1], [0, -1]]), file)
    assert evaluate_folder(predictions, labels, CLASSES) == before


def test_other_grids_are_refused(folders):
    predictions, labels = folders
    save(predictions, "a", boxes(shape=(20, 20, 19)))
    with pytest.raises(BundleError, match="different sizes") as error:
        evaluate_folder(predictions, labels, CLASSES)
    assert error.value.case == "a"
    moved = AFFINE.copy()
    moved[0, 3] = 0.5
    save(predictions, "a", boxes(), moved)
    with pytest.raises(BundleError, match="lie at different places"):
        evaluate_folder(predictions, labels, CLASSES)


def test_missing_cases(folders, tmp_path, caplog):
    predictions, labels = folders
    save(labels, "c", boxes())
    with caplog.at_level(logging.WARNING):
        evaluate_folder(predictions, labels, CLASSES)
    assert "labels without a prediction are not scored: c" in caplog.text
    with pytest.raises(BundleError, match="the case has no prediction"):
        evaluate_folder(predictions, labels, CLASSES, cases=["a", "c"])
    save(predictions, "d", boxes())
    with pytest.raises(BundleError, match="the case has no label"):
        evaluate_folder(predictions, labels, CLASSES, cases=["d"])
    (tmp_path / "none").mkdir()
    with pytest.raises(BundleError, match="no prediction has a label"):
        evaluate_folder(tmp_path / "none", labels, CLASSES)


def test_what_has_no_partner_or_no_class_is_named(tmp_path, caplog):
    label = boxes((1, (slice(5, 9),) * 3))
    for folder, names in (("predictions", ("a", "extra")), ("labels", ("a", "other"))):
        for name in names:
            save(tmp_path / folder, name, label if folder == "labels" else np.zeros_like(label))
    with caplog.at_level(logging.WARNING):
        evaluate_folder(tmp_path / "predictions", tmp_path / "labels", CLASSES)
    assert "labels without a prediction are not scored: other" in caplog.text
    assert "predictions without a label are not scored: extra" in caplog.text
    assert "a.nii.gz holds none of the classes, only values 0" in caplog.text


@pytest.mark.parametrize(("array", "found"), [(-1000, "from -1000 to 0"), (256, "from 0 to 256")])
def test_an_image_is_no_label_map(tmp_path, array, found):
    label = boxes((1, (slice(5, 9),) * 3))
    save(tmp_path / "labels", "a", label)
    save(tmp_path / "predictions", "a", (array * label.astype(np.int16)).astype(np.int16))
    with pytest.raises(BundleError, match="this is no label map") as caught:
        evaluate_folder(tmp_path / "predictions", tmp_path / "labels", CLASSES)
    assert found in str(caught.value.found)
