import pytest

from scripts.quality.case_spread import spread_of_cases


def test_a_uniform_distribution_by_hand():
    assert spread_of_cases(0.5, 2.0, 0.9) == pytest.approx((0.05, 0.95))


def test_a_high_dice_has_more_room_below_and_less_of_it_than_one_in_the_middle():
    (low, high), (lower, higher) = spread_of_cases(0.9, 20.0, 0.9), spread_of_cases(0.5, 20.0, 0.9)
    assert 0.9 - low > high - 0.9 > 0 and higher - lower > high - low
    assert spread_of_cases(0.1, 20.0, 0.9) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_what_was_not_found_is_not_expected(certain):
    assert spread_of_cases(certain, 20.0, 0.9) == (certain, certain)
