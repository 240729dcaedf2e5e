import pytest

from scripts.quality.support_calibration import KnownLabel, SupportCalibration, calibrate, conformal_margin

FUSED = [KnownLabel("liver", 0.9, 0.9), KnownLabel("spleen", 0.8, 0.6), KnownLabel("gallbladder", 0.5, 0.2)]


def test_a_class_is_drawn_towards_the_median_of_all():
    calibration = calibrate(FUSED, [], doubt=1.0, coverage=0.9)
    assert calibration.shared_quality == pytest.approx(0.75), "true over modelled Dice: 1, 0.75, 0.4"
    expected = {"liver": (0.75 + 0.9) / 1.9, "spleen": (0.75 + 0.6) / 1.8, "gallbladder": (0.75 + 0.2) / 1.5}
    assert calibration.class_quality == pytest.approx(expected)
    assert calibration.predicted("liver", 0.8) == pytest.approx(0.8 * 1.65 / 1.9)
    assert calibration.predicted("pancreas", 0.8) == pytest.approx(0.8 * 0.75), "unknown there"


def test_single_atlases_widen_the_margin_and_change_nothing_else():
    alone, wide = (calibrate(FUSED, single, 1.0, 0.9) for single in ([], [KnownLabel("liver", 0.9, 0.1)]))
    assert (alone.shared_quality, alone.class_quality) == (wide.shared_quality, wide.class_quality)
    assert wide.margin == pytest.approx(0.9 * 1.65 / 1.9 - 0.1) and wide.margin > alone.margin


def test_a_class_of_the_support_is_judged_by_the_other_ones_for_the_margin():
    """Medians of the two others: 0.575 for the liver, 0.7 for the spleen, 0.875 for the gallbladder."""
    assert calibrate(FUSED, [], doubt=1.0, coverage=0.9).margin == pytest.approx(
        max(0.9 - 0.9 * 0.575, 0.6 - 0.8 * 0.7, 0.5 * 0.875 - 0.2)
    )
    alone = calibrate([KnownLabel("liver", 0.9, 0.3)], [], doubt=1.0, coverage=0.9)
    assert alone.margin == 1.0, "no other class says anything of it"


def test_a_class_that_was_lost_on_the_support_makes_no_prediction_sure():
    lost = KnownLabel("adrenal", 0.0, 0.0)
    assert calibrate([lost], [lost], 1.0, 0.9).margin == 1.0
    assert calibrate([*FUSED, lost], [lost] * 20, 1.0, 0.9).margin == calibrate(FUSED, [], 1.0, 0.9).margin


def test_no_prediction_exceeds_one_and_better_than_modelled_is_not_shared():
    calibration = calibrate([KnownLabel("liver", 0.5, 1.0)], [], doubt=1.0, coverage=0.9)
    assert calibration.shared_quality == 1.0 and calibration.class_quality["liver"] == pytest.approx(2 / 1.5)
    assert calibration.predicted("liver", 1.0) == 1.0


def test_without_a_support_by_others_nothing_is_known_of_the_margin():
    assert calibrate([], [], 1.0, 0.9) == SupportCalibration(1.0, {}, 1.0)
    assert calibrate([KnownLabel("liver", 0.0, 0.0)], [], 1.0, 0.9).shared_quality == 1.0


@pytest.mark.parametrize(("count", "margin"), [(1, 1), (9, 9), (10, 10), (19, 18), (99, 90)])
def test_the_conformal_rank(count, margin):
    assert conformal_margin(list(range(count, 0, -1)), 0.9) == margin
