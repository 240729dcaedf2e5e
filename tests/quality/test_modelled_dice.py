import numpy as np
import pytest

from scripts.common.overlap import expected_dice
from scripts.quality.modelled_dice import modelled_dice


def test_the_best_mask_is_as_good_as_the_map_and_another_agrees_by_the_product():
    probability = np.array([0.5, 0.5, 0.5, 0.5])
    best = np.ones(4, bool)
    assert expected_dice(best, probability) == pytest.approx(2 / 3)
    assert modelled_dice(best, probability) == pytest.approx((2 / 3) ** 0.5)
    half = np.array([True, True, False, False])
    assert modelled_dice(half, probability) == pytest.approx(0.5 / (2 / 3) ** 0.5)
    assert modelled_dice(best, np.zeros(4)) == 0.0
