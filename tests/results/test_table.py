"""Rows from what is known of a case: whose they are, what they say, and in which order."""

import pytest

from bundle.results.table import CaseFacts, ResultTable, case_rows, left_out_row
from scripts.quality.records import CheckRecord, ClassCheck

CLASSES = {"spleen": 1, "liver": 6}


def class_check(predicted=0.51234, flagged=False, reasons=()):
    return ClassCheck(
        predicted_dice=predicted,
        interval=(0.25, 0.75),
        agreed_dice=0.9,
        border_confidence=1.0,
        agreement={},
        volume_ml=1.0,
        median_hu=None,
        flagged=flagged,
        reasons=reasons,
    )


def facts(check=None, remarks=()):
    volume_ml = {"spleen": 1.23456, "liver": 0.0}
    return CaseFacts("a", "unlabelled", "in/a.nii.gz", "predictions/a.nii.gz", remarks, volume_ml, check)


def check_of(classes, reasons=()):
    return CheckRecord("a", 0.9, 1.0, bool(reasons), reasons, classes)


def test_a_row_for_each_class_with_rounded_numbers():
    spleen, liver = case_rows(facts(check_of({"spleen": class_check(), "liver": class_check(0.0)})), CLASSES)
    assert spleen.columns() == {
        "case": "a",
        "role": "unlabelled",
        "admission": "admitted",
        "class": "spleen",
        "label": 1,
        "volume_ml": 1.235,
        "predicted_dice": 0.5123,
        "dice_low": 0.25,
        "dice_high": 0.75,
        "flagged": False,
        "reasons": [],
        "remarks": [],
        "source": "in/a.nii.gz",
        "label_map": "predictions/a.nii.gz",
    }
    assert (liver.class_name, liver.label, liver.volume_ml, liver.predicted_dice) == ("liver", 6, 0.0, 0.0)


def test_reasons_of_the_case_stand_before_those_of_a_flagged_class_and_nowhere_else():
    checks = {"spleen": class_check(flagged=True, reasons=("not found",)), "liver": class_check()}
    spleen, liver = case_rows(facts(check_of(checks, ("the body is mirrored",))), CLASSES)
    assert (spleen.flagged, spleen.reasons) == (True, ("the body is mirrored", "not found"))
    assert (liver.flagged, liver.reasons) == (False, ())


@pytest.mark.parametrize("check", [None, check_of({"liver": class_check()})])
def test_what_nobody_checked_is_not_known_to_be_good(check):
    spleen, _ = case_rows(facts(check), CLASSES)
    assert (spleen.predicted_dice, spleen.interval, spleen.flagged) == (None, None, None)


def test_remarks_are_told_with_the_admission():
    rows = list(case_rows(facts(remarks=("looks like MR",)), CLASSES))
    assert [(row.admission, row.remarks) for row in rows] == [("with remarks", ("looks like MR",))] * 2


def test_a_case_that_was_left_out_has_one_row_with_its_sentence():
    row = left_out_row("b", {"file": "in/b.nii.gz", "reason": "it is constant", "remedy": "a CT"})
    assert (row.case, row.admission, row.remarks) == ("b", "left out", ("it is constant", "expected: a CT"))
    assert (row.source, row.class_name, row.label_map, row.flagged) == ("in/b.nii.gz", None, None, None)
    assert left_out_row("b", {"file": "b", "reason": "no"}).remarks == ("no",)


def test_the_table_names_version_and_weights_once():
    table = ResultTable("1.2.3", {"segmentation": "ab"}, tuple(case_rows(facts(), {"spleen": 1})))
    content = table.to_json()
    assert (content["schema_version"], content["version"]) == (2, "1.2.3")
    assert content["weights_sha256"] == {"segmentation": "ab"}
    assert [row["class"] for row in content["rows"]] == ["spleen"]
