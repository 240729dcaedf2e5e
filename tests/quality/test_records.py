import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.quality.records import CheckRecord, ClassCheck, agreed_dice, distrusted
from tests.quality.checks import check_record, class_check


def test_a_record_comes_back_rounded_to_four_digits(tmp_path):
    spleen = class_check(predicted_dice=0.123456, interval=(0.1, 0.98765432), volume_ml=12.3456, median_hu=99.96)
    absent = class_check(volume_ml=0.0, median_hu=None, flagged=True, reasons=("not found",))
    record = check_record("case_1", {"spleen": spleen, "liver": absent}, "the body is unlike the support's")
    write_json(tmp_path / "case_1.json", {**record.to_json(), "inputs": "", "seconds": 0.1})
    back = CheckRecord.read(tmp_path / "case_1.json")
    assert back.classes["spleen"].predicted_dice == 0.1235 and back.classes["spleen"].interval == (0.1, 0.9877)
    assert (back.classes["spleen"].volume_ml, back.classes["spleen"].median_hu) == (12.35, 100.0)
    assert back.classes["liver"] == absent
    assert back.flagged and back.reasons == ("the body is unlike the support's",)
    assert back.to_json() == record.to_json()


def test_a_record_of_earlier_versions_has_raters_among_the_atlases():
    content = class_check().to_json()
    content["agreement"] |= content.pop("rater_agreement")
    check = ClassCheck.from_json(content)
    assert check.rater_agreement == {} and check.agreement == {"case_0": 0.88, "pseudo label": 0.92}


def test_a_damaged_record_is_named(tmp_path):
    content = check_record("case_1", {"spleen": class_check()}).to_json()
    del content["classes"]["spleen"]["agreed_dice"]
    write_json(tmp_path / "case_1.json", content)
    with pytest.raises(BundleError, match="damaged") as error:
        CheckRecord.read(tmp_path / "case_1.json")
    assert error.value.file == str(tmp_path / "case_1.json")
    assert read_json(tmp_path / "case_1.json") == content


def test_classes_below_the_least_agreed_dice_are_distrusted_whatever_the_penalty(tmp_path):
    poor, penalised = class_check(agreed_dice=0.49), class_check(agreed_dice=0.5, predicted_dice=0.1, flagged=True)
    record = check_record("case_1", {"spleen": poor, "left_kidney": penalised})
    write_json(tmp_path / "case_1.json", record.to_json())
    assert distrusted(tmp_path, "case_1", least_agreed_dice=0.5) == ["spleen"]
    assert distrusted(tmp_path, "case_2", least_agreed_dice=0.5) == [], "it was not checked"


def test_the_agreed_dice_of_a_folder_are_all_that_its_records_decide_by(tmp_path):
    for case, dice in (("case_1", 0.49), ("case_2", 0.8)):
        write_json(tmp_path / f"{case}.json", check_record(case, {"spleen": class_check(agreed_dice=dice)}).to_json())
    (tmp_path / ".writing-1-host-case_3.json").write_text("{")
    assert agreed_dice(tmp_path) == {"case_1": {"spleen": 0.49}, "case_2": {"spleen": 0.8}}
    assert agreed_dice(tmp_path / "nowhere") == {}
