import pytest

from scripts.quality.calibration import interval_coverage, kept_quality, summary


def pair(predicted, true, flagged):
    return {"predicted": predicted, "true": true, "flagged": flagged}


def test_numbers_by_hand():
    pairs = [pair(0.9, 0.8, False), pair(0.7, 0.6, True), pair(0.3, 0.4, True), pair(0.8, 0.2, False)]
    calibration = summary(pairs)
    assert calibration["mean_absolute_error"] == pytest.approx((0.1 + 0.1 + 0.1 + 0.6) / 4)
    assert (
        calibration["results"],
        calibration["failures"],
        calibration["failures_flagged"],
        calibration["false_flags"],
    ) == (4, 2, 1, 1)
    assert calibration["pearson_r"] == pytest.approx(0.35, abs=0.01)


def test_without_spread_there_is_no_correlation():
    assert summary([pair(0.5, 0.5, False), pair(0.5, 0.9, False)])["pearson_r"] is None


def test_how_often_the_interval_holds_the_truth():
    pairs = [{"true": true, "interval": [0.4, 0.6]} for true in (0.39, 0.4, 0.6, 0.7)]
    assert interval_coverage(pairs) == 0.5


def test_the_least_trusted_are_put_aside_first():
    coverage, quality = kept_quality([0.9, 0.2, 0.6], [0.8, 0.1, 0.6])
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1]) and quality == pytest.approx([0.8, 0.7, 0.5])
