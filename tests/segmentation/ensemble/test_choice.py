"""Which of two label maps has each class; (X, Y, Z) is (N, 1, 1)."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.made_of import write_record
from scripts.common.work_folder import LabelFolder
from scripts.data.records import PseudoLabelRecord
from scripts.quality.records import CheckRecord, ClassCheck
from scripts.segmentation.ensemble.choice import ChoiceSettings, transferred_classes, with_classes_of
from scripts.segmentation.ensemble.choice_stage import ChoiceStage

CLASSES = {"spleen": 1, "liver": 6}
AFFINE = np.diag([2.0, 5.0, 10.0, 1.0])  # 0.1 ml a voxel


def label_map(*values):
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def test_a_class_stays_as_it_was_transferred_where_that_is_trusted_more():
    joined, transferred = {"spleen": 0.6, "liver": 0.9}, {"spleen": 0.7, "liver": 0.9}
    assert transferred_classes(joined, transferred, ChoiceSettings()) == ["spleen"]
    assert transferred_classes(joined, transferred, ChoiceSettings(least_dice_gain=-0.11)) == []
    assert transferred_classes(joined, transferred, ChoiceSettings(least_dice_gain=0.01)) == ["spleen", "liver"]


def test_a_limit_that_no_dice_has_is_refused():
    with pytest.raises(BundleError, match="least_dice_gain is out of range"):
        ChoiceSettings(least_dice_gain=1.5)


def test_classes_of_the_other_map_take_what_no_remaining_class_has():
    label, other = label_map(1, 1, 0, 6, 6, 0), label_map(0, 1, 1, 1, 6, 0)
    assert with_classes_of(label, other, [1]).ravel().tolist() == [0, 1, 1, 6, 6, 0]
    assert with_classes_of(label, other, [1, 6]).ravel().tolist() == other.ravel().tolist()
    assert with_classes_of(label, other, []).ravel().tolist() == label.ravel().tolist()


class Cohort:
    """case_1 and case_2, images of six voxels."""

    def __init__(self, folder):
        self.classes = CLASSES
        self.cases = {
            name: type("Case", (), {"image": folder / f"{name}_image.nii.gz"}) for name in ("case_1", "case_2")
        }
        for case in self.cases.values():
            write_nifti(case.image, np.zeros((6, 1, 1), np.int16), AFFINE)


@pytest.fixture
def stage(tmp_path):
    """Network and atlases: spleen 2, liver 2; transferred: spleen 1, liver 3. case_2 was not checked."""
    cohort = Cohort(tmp_path)
    maps = {"joined": label_map(1, 1, 0, 6, 6, 0), "transferred": label_map(1, 0, 6, 6, 6, 0)}
    for name, array in maps.items():
        folder = LabelFolder(tmp_path / name)
        for case in cohort.cases:
            write_nifti(folder.label(case), array, AFFINE)
            record = PseudoLabelRecord(case, CLASSES, volume_ml={"spleen": 9.0}, border_confidence={"liver": 0.5})
            write_record(folder.record(case), record.to_json(), name, [folder.label(case)])
    check(tmp_path, "joined", spleen=0.8, liver=0.6)
    check(tmp_path, "transferred", spleen=0.7, liver=0.7)
    return ChoiceStage(cohort, *folders_of(tmp_path))


def folders_of(tmp_path):
    names = ("joined", "joined_checks", "transferred", "transferred_checks", "labels")
    return [tmp_path / name for name in names]


def check(tmp_path, name, **dice):
    checks = {key: ClassCheck(value, (0.0, 1.0), value, 1.0, {}, 1.0, 0.0, False) for key, value in dice.items()}
    record = CheckRecord("case_1", 0.9, 1.0, False, (), checks)
    write_json(tmp_path / f"{name}_checks" / "case_1.json", record.to_json())


def test_a_case_has_each_class_from_the_label_map_that_is_trusted_more(tmp_path, stage):
    assert stage.run() == ["case_1", "case_2"]
    chosen = nib.load(tmp_path / "labels" / "case_1.nii.gz")
    assert np.asarray(chosen.dataobj).ravel().tolist() == [1, 1, 6, 6, 6, 0] and np.allclose(chosen.affine, AFFINE)
    record = read_json(tmp_path / "labels" / "case_1.json")
    assert record["transferred"] == ["liver"] and record["volume_ml"] == {"spleen": 0.2, "liver": 0.3}
    assert PseudoLabelRecord.read(tmp_path / "labels" / "case_1.json").not_located == ()


def test_a_case_that_was_not_checked_keeps_what_network_and_atlases_say(tmp_path, stage):
    stage.run()
    label = np.asarray(nib.load(tmp_path / "labels" / "case_2.nii.gz").dataobj)
    assert label.ravel().tolist() == [1, 1, 0, 6, 6, 0]
    record = read_json(tmp_path / "labels" / "case_2.json")
    assert "transferred" not in record and record["volume_ml"] == {"spleen": 9.0}


def test_a_choice_is_made_again_where_the_self_check_says_something_else(tmp_path, stage):
    stage.run()
    assert stage.run() == []
    check(tmp_path, "joined", spleen=0.8, liver=0.9)
    assert ChoiceStage(stage.cohort, *folders_of(tmp_path)).run() == ["case_1"]
    assert "transferred" not in read_json(tmp_path / "labels" / "case_1.json")
