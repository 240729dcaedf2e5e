import pytest
from scipy.stats import beta

from scripts.quality.case_spread import spread_of_cases

NEVER = 1000.0  # as a power: nothing is lost


def test_a_uniform_distribution_by_hand():
    assert spread_of_cases(0.5, 2.0, NEVER, 0.9) == pytest.approx((0.05, 0.95))


def test_a_high_dice_has_more_room_below_and_less_of_it_than_one_in_the_middle():
    (low, high), (lower, higher) = (spread_of_cases(dice, 20.0, NEVER, 0.9) for dice in (0.9, 0.5))
    assert 0.9 - low > high - 0.9 > 0 and higher - lower > high - low
    assert spread_of_cases(0.1, 20.0, NEVER, 0.9) == pytest.approx((1 - high, 1 - low))


def test_what_may_be_lost_reaches_down_to_nothing():
    """At 0.5 one of four is lost by the power of 2; the others' mean is 2/3."""
    assert spread_of_cases(0.5, 3.0, 2.0, 0.75) == pytest.approx((0.0, beta.ppf(5 / 6, 2, 1)))
    assert spread_of_cases(0.9, 3.0, 2.0, 0.75)[0] > 0, "one of a hundred is lost"


@pytest.mark.parametrize("power", [1.5, 4.0, NEVER])
def test_predicted_dice_is_the_mean_of_all_lost_ones_among_them(power):
    """Half of the distribution: lost ones below, what is left above."""
    for predicted in (0.05, 0.3, 0.8):
        highs = [spread_of_cases(predicted, 12.0, power, (n + 0.5) / 500 * 2 - 1)[1] for n in range(250, 500)]
        lows = [spread_of_cases(predicted, 12.0, power, 1 - (n + 0.5) / 500 * 2)[0] for n in range(250)]
        assert sum(highs + lows) / 500 == pytest.approx(predicted, abs=0.003)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_what_was_not_found_is_not_expected(certain):
    assert spread_of_cases(certain, 20.0, 4.0, 0.9) == (certain, certain)
