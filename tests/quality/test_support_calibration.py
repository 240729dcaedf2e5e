import pytest

from scripts.quality.support_calibration import KnownLabel, SupportCalibration, calibrate

FUSED = [KnownLabel("liver", 0.9, 0.9), KnownLabel("spleen", 0.8, 0.6), KnownLabel("gallbladder", 0.5, 0.2)]


def test_a_class_is_drawn_towards_the_median_of_all():
    calibration = calibrate(FUSED, doubt=1.0)
    assert calibration.shared_quality == pytest.approx(0.75), "true over modelled Dice: 1, 0.75, 0.4"
    expected = {"liver": (0.75 + 0.9) / 1.9, "spleen": (0.75 + 0.6) / 1.8, "gallbladder": (0.75 + 0.2) / 1.5}
    assert calibration.class_quality == pytest.approx(expected)
    assert calibration.predicted("liver", 0.8) == pytest.approx(0.8 * 1.65 / 1.9)
    assert calibration.predicted("pancreas", 0.8) == pytest.approx(0.8 * 0.75), "unknown there"


def test_a_class_that_was_lost_on_the_support_is_expected_to_be_lost_again():
    calibration = calibrate([*FUSED, KnownLabel("adrenal", 0.0, 0.0)], doubt=1.0)
    assert calibration.shared_quality == pytest.approx(0.75), "it says nothing of the others"
    assert calibration.predicted("adrenal", 0.8) == pytest.approx(0.8 * 0.75 / 2)
    alone = calibrate([KnownLabel("liver", 0.0, 0.0)], doubt=1.0)
    assert alone.is_known and alone.predicted("liver", 0.8) == pytest.approx(0.4)


def test_no_prediction_exceeds_one_and_better_than_modelled_is_not_shared():
    calibration = calibrate([KnownLabel("liver", 0.5, 1.0)], doubt=1.0)
    assert calibration.shared_quality == 1.0 and calibration.class_quality["liver"] == pytest.approx(2 / 1.5)
    assert calibration.predicted("liver", 1.0) == 1.0


def test_without_a_support_by_others_nothing_is_known():
    assert calibrate([], 1.0) == SupportCalibration(1.0, {}) and not SupportCalibration().is_known
