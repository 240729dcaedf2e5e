"""The method still gives what it gave: Dice within a band on any machine, every bit on the machine of the records."""

from __future__ import annotations

import pytest

from scripts.common.files import read_json
from tests.golden.chain import miniature_cohort, phantom_cohort, run_chain, run_miniature
from tests.golden.results import collect, collect_miniature, differences, machine, outside_band
from tests.paths import ROOT

BAND = 0.02  # Dice; other processors and builds of torch round otherwise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cohort_in", "run", "take", "band"),
    [
        # Networks of noise: on another machine any Dice comes out.
        ("miniature", miniature_cohort, run_miniature, collect_miniature, None),
        ("phantom", phantom_cohort, run_chain, collect, BAND),
    ],
)
def test_results_are_those_on_record(tmp_path, name, cohort_in, run, take, band):
    before = read_json(ROOT / "tests" / "golden" / f"{name}.json")
    cohort = cohort_in(tmp_path / "cohort")
    run(cohort, tmp_path / "out")
    after = take(cohort, tmp_path / "out")
    if band is not None:
        assert outside_band(before, after, band) == []
    if before["machine"] == machine():
        assert differences(before, after) == []


def result(dice, predicted=0.9):
    return {"dice": {"default": {"case": {"liver": dice}}}, "predicted_dice": {"case": {"liver": predicted}}}


def test_dice_within_the_band_passes():
    assert outside_band(result(0.90), result(0.915), 0.02) == []


def test_half_the_dice_fails_and_is_named():
    assert outside_band(result(0.9), result(0.45), BAND) == ["dice default case liver"]


def test_better_dice_than_on_record_fails_too():
    assert outside_band(result(0.9), result(0.95), BAND) == ["dice default case liver"]


def test_another_predicted_dice_fails():
    assert outside_band(result(0.9, 0.9), result(0.9, 0.8), BAND) == ["predicted_dice case liver"]


def test_an_organ_that_is_not_there_any_more_fails():
    after = result(0.9) | {"dice": {"default": {"case": {}}}}
    assert outside_band(result(0.9), after, BAND) == ["dice default case liver"]
