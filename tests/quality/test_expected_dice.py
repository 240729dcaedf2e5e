import numpy as np
import pytest

from scripts.quality.expected_dice import expected_dice, model_quality


def test_expected_dice_by_hand():
    mask = np.array([True, True, False, False])
    assert expected_dice(mask, np.array([1.0, 0.5, 0.5, 0.0])) == pytest.approx(2 * 1.5 / 4)
    assert expected_dice(mask, mask.astype(float)) == 1.0
    assert expected_dice(mask, np.zeros(4)) == 0.0 and expected_dice(~mask & mask, np.zeros(4)) == 0.0
    assert expected_dice(~mask & mask, np.ones(4)) == 0.0, "nothing was drawn"


def test_two_equal_raters_agree_by_the_square_of_their_quality():
    assert model_quality(0.64) == pytest.approx(0.8)
