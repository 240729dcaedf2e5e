"""Cases with their pseudo labels, and which of them teach."""

import logging

import nibabel as nib
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.data.cohort import load_cohort
from scripts.segmentation.training_items import training_items
from tests.quality.checks import check_record, class_check
from tests.segmentation_fixtures import CLASSES, LAS, make_work_dir, phantom


def test_training_items(tmp_path, caplog):
    work = make_work_dir(tmp_path, 4, not_located={"case_1": ["left_kidney"], "case_2": ["spleen", "left_kidney"]})
    (work / "pseudo_labels" / "case_3.json").unlink()
    with caplog.at_level(logging.WARNING):
        items = training_items(work, CLASSES)
    assert [item["case"] for item in items] == ["case_0", "case_1"]
    assert [item["not_located"] for item in items] == [[], ["left_kidney"]]
    assert "case_2 is left out: none of its classes was located" in caplog.text
    assert "case_3 has no pseudo label" in caplog.text


def test_a_pseudo_label_of_an_image_that_was_replaced_is_left_out(tmp_path, caplog):
    work = make_work_dir(tmp_path, 2)
    for case, found in load_cohort(work).cases.items():
        record = work / "pseudo_labels" / f"{case}.json"
        write_json(record, {**read_json(record), "image_sha256": found.sha256})
    assert [item["case"] for item in training_items(work, CLASSES)] == ["case_0", "case_1"]
    nib.save(nib.Nifti1Image(phantom(9)[0], LAS), tmp_path / "images" / "case_1.nii.gz")
    (item,) = training_items(work, CLASSES)
    assert (item["case"], item["image_sha256"]) == ("case_0", load_cohort(work).cases["case_0"].sha256)
    assert "case case_1 is left out: its pseudo label is of an image that was replaced since" in caplog.text


def test_validation_cases_are_not_trained_on(tmp_path):
    work = make_work_dir(tmp_path, 4)
    training = {item["case"] for item in training_items(work, CLASSES, 1)}
    validation = {item["case"] for item in training_items(work, CLASSES, 1, validation=True)}
    assert len(validation) == 1
    assert training | validation == {f"case_{n}" for n in range(4)}
    assert not training & validation


def test_other_classes_and_missing_labels_are_refused(tmp_path):
    work = make_work_dir(tmp_path, 2)
    with pytest.raises(BundleError, match="pseudo labels are of other classes"):
        training_items(work, {"spleen": 2})
    for path in (work / "pseudo_labels").iterdir():
        path.unlink()
    with pytest.raises(BundleError, match="no pseudo labels to train on"):
        training_items(work, CLASSES)


def test_a_distrusted_class_counts_as_not_located(tmp_path):
    work, checks = make_work_dir(tmp_path, 3, not_located={"case_1": ["left_kidney"]}), tmp_path / "checks"
    agreed_dice = {"spleen": 0.5, "left_kidney": 0.4}
    for case in ("case_0", "case_1"):
        classes = {name: class_check(agreed_dice=dice) for name, dice in agreed_dice.items()}
        write_json(checks / f"{case}.json", check_record(case, classes).to_json())
    items = training_items(work, CLASSES, checks_dir=checks, least_agreed_dice=0.5)
    assert [item["not_located"] for item in items] == [["left_kidney"], ["left_kidney"], []]
    assert len(training_items(work, CLASSES, checks_dir=checks, least_agreed_dice=0.6)) == 1, (
        "nothing is left of two cases"
    )
