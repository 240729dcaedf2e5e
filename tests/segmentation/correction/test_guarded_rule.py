"""A row of voxels of 4 mm, two classes."""

import numpy as np
import pytest

from scripts.segmentation.correction.cohort_verdicts import ClassPlan, Verdict
from scripts.segmentation.correction.guarded_rule import Case, correct_case, most_confident, rolling_mean
from scripts.segmentation.correction.settings import GuardSettings

FREE = GuardSettings(most_round_share=1.0, most_total_share=1.0, ignored_rounds=2)
DELTA = [0.9, 0.8, 0.8]
SURE = {"0": [1.0, 0.0, 0.0], "1": [0.04, 0.96, 0.0], "2": [0.0, 0.1, 0.9], "?": [0.3, 0.6, 0.1]}
SURE["b"] = [0.98, 0.02, 0.0]


def row(text):
    return np.array([int(sign) for sign in text]).reshape(-1, 1, 1)


def case(label, shown, first=None, ignored=None, located=(True, True)):
    """Labels and what the network shows, one sign a voxel: a sure class, `?` a likely 1, `b` a likely background."""
    probability = np.array([SURE[sign] for sign in shown]).T.reshape(3, -1, 1, 1)
    first, ignored = row(first or label), row(ignored or "0" * len(label)).astype(np.uint8)
    return Case(first, row(label), ignored, probability, located, (4.0, 4.0, 4.0))


def corrected(found, settings=FREE, verdicts=(Verdict.CORRECTED, Verdict.CORRECTED), usual=(4, 4), dice=(1.0, 1.0)):
    plans = [ClassPlan(verdict, voxels) for verdict, voxels in zip(verdicts, usual, strict=True)]
    done = correct_case(found, plans, DELTA, dice, settings)
    signs = "".join(map(str, done.label.flatten()))
    return signs, "".join(map(str, done.ignored.flatten())), done.verdicts


def test_a_class_grows_where_the_network_is_sure():
    label, ignored, verdicts = corrected(case("0111100", "1111?1?"))
    assert (label, ignored) == ("1111110", "0000000")
    assert verdicts == [Verdict.CORRECTED, Verdict.LACKING]


def test_what_the_network_takes_from_a_class_is_ignored_first_and_background_when_confirmed():
    found = case("0111100", "0011100")
    label, ignored, _ = corrected(found)
    assert (label, ignored) == ("0311100", "0100000")
    again = found._replace(label=row(label), ignored=row(ignored).astype(np.uint8))
    label, ignored, _ = corrected(again)
    assert (label, ignored) == ("0311100", "0200000"), "one round is not enough"
    again = again._replace(label=row(label), ignored=row(ignored).astype(np.uint8))
    assert corrected(again)[:2] == ("0011100", "0000000")


def test_what_is_ignored_returns_to_the_class_that_the_network_shows():
    assert corrected(case("0311100", "0111100", first="0111100", ignored="0100000"))[:2] == ("0111100", "0000000")


def test_background_needs_more_than_the_schedule_says():
    assert corrected(case("0111100", "0b11100"))[0] == "0111100"


def test_what_the_pseudo_label_left_undecided_is_decided_at_once():
    assert corrected(case("3111130", "0111110"))[0] == "0111110"


def test_voxels_change_from_class_to_class():
    assert corrected(case("0112222", "0111222"), dice=(0.9, 0.9))[0] == "0111222"


def test_a_class_that_the_network_does_not_know_in_this_case_is_left_alone():
    label, _, verdicts = corrected(case("0112222", "0011112"), dice=(0.3, 0.9))
    assert label == "0112222", "nothing is taken from it, and it takes nothing"
    assert verdicts == [Verdict.UNLIKE, Verdict.CORRECTED]


@pytest.mark.parametrize("why", [Verdict.LEARNING, Verdict.UNLIKE])
def test_a_class_that_is_not_ready_in_the_cohort_is_left_alone(why):
    label, _, verdicts = corrected(case("0111100", "0011110"), verdicts=(why, why))
    assert (label, verdicts) == ("0111100", [why, why])


def test_a_class_that_was_not_located_stays_away():
    label, _, verdicts = corrected(case("0000000", "0111100", located=(False, True)))
    assert (label, verdicts[0]) == ("0000000", Verdict.NOT_LOCATED)


def test_a_class_grows_only_near_its_label():
    assert corrected(case("1100000000", "1100000111"))[0] == "1100000100", "24 mm are six voxels"


def test_a_round_changes_a_tenth_of_a_class_the_surest_voxels_first():
    settings = GuardSettings(most_round_share=0.25, most_total_share=1.0)
    found = case("011110000", "011111110")
    found.probability[:, 6] = np.array([0.01, 0.99, 0.0]).reshape(3, 1, 1)
    assert corrected(found, settings)[0] == "011110100"
    assert corrected(case("111100000", "000100000"), settings)[0] == "311100000", "the first where all are as sure"


def test_all_rounds_together_leave_a_class_near_its_first_and_its_usual_volume():
    settings = GuardSettings(most_round_share=1.0, most_total_share=0.25)
    assert corrected(case("111110000", "111111111", first="111100000"), settings)[0] == "111110000"
    assert corrected(case("111000000", "100000000", first="111100000"), settings)[0] == "111000000"
    assert corrected(case("111110000", "111111111", first="111100000"), settings, usual=(8, 4))[0] == "111111111"


def test_a_class_that_the_case_lacks_is_placed_in_one_piece_of_its_usual_volume():
    label, ignored, verdicts = corrected(case("000000220", "011?10220"))
    assert (label, ignored) == ("011310220", "000100000")
    assert verdicts == [Verdict.PLACED, Verdict.CORRECTED]
    assert corrected(case("000000000", "101010101"))[2][0] == Verdict.LACKING, "pieces are too small"
    assert corrected(case("000000000", "111111111"), usual=(4, 4))[2][0] == Verdict.LACKING, "more than twice as large"
    assert corrected(case("000000000", "0?1??0000"))[2][0] == Verdict.LACKING, "hardly sure"
    assert corrected(case("222222222", "011110000"), dice=(0, 0))[2][0] == Verdict.LACKING, "not over another class"


def test_a_class_that_shrank_gets_its_first_label_back():
    found = case("0311200", "0011200", first="0111100", ignored="0100000")
    label, ignored, verdicts = corrected(found, verdicts=(Verdict.SHRANK, Verdict.LEARNING))
    assert (label, ignored) == ("0111100", "0000000")
    assert verdicts[0] is Verdict.SHRANK


def test_probabilities_of_older_rounds_weigh_less():
    now = np.array([1.0])
    assert rolling_mean(None, now, 0.5) is now
    assert rolling_mean(np.array([0.2]), now, 0.75) == pytest.approx([0.4])


def test_of_equally_confident_voxels_the_first_are_chosen():
    wanted, confidence = row("1101").astype(bool), np.array([0.5, 0.9, 1.0, 0.5]).reshape(-1, 1, 1)
    assert most_confident(wanted, confidence, 2).flatten().tolist() == [True, True, False, False]
    assert not most_confident(wanted, confidence, -1).any()
