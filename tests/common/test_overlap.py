import numpy as np
import pytest

from scripts.common.overlap import best_mask, dice_of, dice_of_share, expected_dice, likely_classes


def test_dice():
    first, second = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    assert dice_of(first, second) == pytest.approx(2 / 3)
    assert dice_of(first & False, second & False) == 1.0
    assert dice_of(first & False, second & False, of_nothing=0.0) == 0.0


def test_dice_of_a_share():
    whole, part = np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 0], bool)
    assert dice_of_share(1 / 3) == pytest.approx(dice_of(whole, part)) and dice_of_share(1.0) == 1.0


def test_expected_dice_by_hand():
    mask = np.array([True, True, False, False])
    assert expected_dice(mask, np.array([1.0, 0.5, 0.5, 0.0])) == pytest.approx(2 * 1.5 / 4)
    assert expected_dice(mask, mask.astype(float)) == 1.0
    assert expected_dice(mask, np.zeros(4)) == 0.0 and expected_dice(~mask & mask, np.zeros(4)) == 0.0
    assert expected_dice(~mask & mask, np.ones(4)) == 0.0, "nothing was drawn"


@pytest.mark.parametrize(
    ("values", "limit", "dice"),
    [
        ((1.0, 1.0, 0.0), 1.0, 1.0),  # as many voxels as are sure
        ((0.9, 0.6, 0.4, 0.1), 0.4, 3.8 / 5),  # one to four voxels: 1.8 / 3, 3 / 4, 3.8 / 5, 4 / 6
        ((0.1, 0.4, 0.1, 0.4), 0.4, 1.6 / 3),  # 0.8 / 2, 1.6 / 3, 1.8 / 4, 2 / 5
        ((0.25, 0.0, 0.25, 0.25, 0.25), 0.25, 0.4),  # 0.5 / 2, 1 / 3, 1.5 / 4, 2 / 5
        ((0.0, 0.0), 1.0, 0.0),  # nothing is as probable as that
    ],
)
def test_the_best_limit_falls_with_the_blur(values, limit, dice):
    assert best_mask(np.array(values)) == pytest.approx((limit, dice))


def test_no_other_mask_is_better_than_the_best_one():
    probability = np.array([0.0, 0.9, 0.1, 0.6])
    masks = np.array(np.meshgrid(*[[False, True]] * 4)).reshape(4, -1).T
    assert max(expected_dice(mask, probability) for mask in masks) == pytest.approx(best_mask(probability).dice)


def test_a_thin_class_is_likely_where_background_is_more_probable():
    background, wide, thin = (
        [0.0, 0.1, 0.5, 0.6, 0.9, 1.0],
        [1.0, 0.9, 0.2, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.3, 0.4, 0.1, 0.0],
    )
    probabilities = np.array([background, wide, thin]).reshape(3, 6, 1, 1)
    assert likely_classes(probabilities).ravel().tolist() == [1, 1, 2, 2, 0, 0]
    assert probabilities.argmax(axis=0).ravel().tolist() == [1, 1, 0, 0, 0, 0]


def test_of_two_likely_classes_the_more_probable_one_has_the_voxel():
    probabilities = np.array([[0.1, 0.0, 0.2], [0.9, 0.4, 0.0], [0.0, 0.6, 0.8]]).reshape(3, 3, 1, 1)
    assert likely_classes(probabilities).ravel().tolist() == [1, 2, 2]


def test_without_probability_there_is_background_alone():
    assert not likely_classes(np.zeros((3, 2, 2, 2))).any()
