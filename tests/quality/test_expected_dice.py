import numpy as np
import pytest

from scripts.quality.expected_dice import best_expected_dice, expected_dice, modelled_dice


def test_expected_dice_by_hand():
    mask = np.array([True, True, False, False])
    assert expected_dice(mask, np.array([1.0, 0.5, 0.5, 0.0])) == pytest.approx(2 * 1.5 / 4)
    assert expected_dice(mask, mask.astype(float)) == 1.0
    assert expected_dice(mask, np.zeros(4)) == 0.0 and expected_dice(~mask & mask, np.zeros(4)) == 0.0
    assert expected_dice(~mask & mask, np.ones(4)) == 0.0, "nothing was drawn"


def test_the_best_mask_holds_what_is_above_some_threshold():
    probability = np.array([0.0, 0.9, 0.1, 0.6])
    assert best_expected_dice(probability) == pytest.approx(2 * 1.5 / 3.6), "one voxel 1.8 / 2.6, three 3.2 / 4.6"
    assert best_expected_dice(np.zeros(3)) == 0.0
    masks = np.array(np.meshgrid(*[[False, True]] * 4)).reshape(4, -1).T
    assert max(expected_dice(mask, probability) for mask in masks) == pytest.approx(best_expected_dice(probability))


def test_the_best_mask_is_as_good_as_the_map_and_another_agrees_by_the_product():
    probability = np.array([0.5, 0.5, 0.5, 0.5])
    best = np.ones(4, bool)
    assert expected_dice(best, probability) == pytest.approx(2 / 3)
    assert modelled_dice(best, probability) == pytest.approx((2 / 3) ** 0.5)
    half = np.array([True, True, False, False])
    assert modelled_dice(half, probability) == pytest.approx(0.5 / (2 / 3) ** 0.5)
    assert modelled_dice(best, np.zeros(4)) == 0.0
