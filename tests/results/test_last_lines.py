"""The last lines of a command."""

from dataclasses import replace

from bundle.results.last_lines import last_lines
from bundle.results.table import CaseFacts, ResultTable, case_rows, left_out_row
from scripts.quality.records import CheckRecord
from tests.results.test_table import class_check

CLASSES = {"spleen": 1, "liver": 6}


def rows(case, check=None, role="unlabelled", remarks=(), liver_ml=2.0):
    facts = CaseFacts(case, role, "in", "out", remarks, {"spleen": 1.0, "liver": liver_ml}, check)
    return list(case_rows(facts, CLASSES))


def check(spleen, liver):
    return CheckRecord("x", 1.0, 1.0, False, (), {"spleen": spleen, "liver": liver})


def lines(*rows):
    return last_lines(ResultTable("1", {}, rows))


def test_the_worst_predicted_come_first_with_their_reason():
    bad = class_check(0.2, True, ("not found", "odd"))
    said = lines(
        *rows("s", role="support"),
        *rows("a", check(class_check(0.8), bad)),
        *rows("b", check(class_check(0.5), class_check(0.9))),
        *rows("c", check(class_check(0.0), class_check(0.0)), role="accepted"),
        left_out_row("d", {"file": "d", "reason": "constant"}),
    )
    assert said == [
        "made: 4 label maps, 2 classes each; 1 volume left out, see the table of results; 1 of 4 organs are flagged",
        "look at first: a, liver, predicted Dice 0.20 (0.25 to 0.75): not found",
        "look at first: b, spleen, predicted Dice 0.50 (0.25 to 0.75)",
        "look at first: a, spleen, predicted Dice 0.80 (0.25 to 0.75)",
    ]


def test_without_a_self_check_remarks_and_empty_classes_count():
    said = lines(*rows("a", liver_ml=0.0), *rows("b", remarks=("like MR", "cut")))
    assert said[1:] == ["look at first: b: like MR", "look at first: a, liver: not found"]
    many = [row for n in range(5) for row in rows(f"c{n}", liver_ml=0.0)]
    assert lines(*many)[-1] == "and at 2 more"


def test_where_no_dice_is_predicted_that_is_said():
    (row, _) = rows("a")
    said = lines(row, replace(row, case="b"))
    assert said[0] == "made: 2 label maps, 1 class each"
    assert said[1:] == ["look at first: any of them, no Dice is predicted here"]
