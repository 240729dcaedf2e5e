"""What the page says of predicted Dice."""

from __future__ import annotations

from bundle.report.page import write_report
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.quality.records import CheckRecord
from tests.report.runs import text_of
from tests.results.test_table import class_check


def run_of(out, accepted):
    """case_1 was predicted 0.4 for both classes, case_2 1.0."""
    work = WorkFolder(out)
    write_json(work.settings, {"mode": "default", "small": True, "weights": None, "accepted": accepted})
    for case, dice in (("case_1", 0.4), ("case_2", 1.0)):
        checks = {"spleen": class_check(dice), "left_kidney": class_check(dice)}
        write_json(work.self_check / f"{case}.json", CheckRecord(case, 0.9, 1.0, False, (), checks).to_json())
    return text_of(write_report(out))


def test_means_are_of_what_nobody_accepted(output):
    everybody = run_of(output, [])
    assert "spleen 0.70 0.40 (case_1)" in everybody and "you accepted are not counted" not in everybody
    some = run_of(output, ["case_2"])
    assert "spleen 0.40 0.40 (case_1)" in some and "Cases whose label maps you accepted are not counted." in some
    assert "Cases that were checked: 1." in some


def test_all_accepted_is_no_lack_of_a_self_check(output):
    text = run_of(output, ["case_1", "case_2"])
    assert "You accepted the label map of every case" in text and "There was no self-check" not in text
