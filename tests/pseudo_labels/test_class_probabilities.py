"""The Dice to expect of a mask, and the limit that makes it the highest."""

import numpy as np
import pytest

from scripts.pseudo_labels.class_probabilities import best_limit, expected_dice


def volume(*values):
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def test_expected_dice_is_twice_what_is_expected_inside_over_both_volumes():
    assert expected_dice(1.5, voxels=2, volume=2.0) == pytest.approx(2 * 1.5 / 4)
    assert expected_dice(0.0, voxels=0, volume=0.0) == 0.0, "nothing is expected, so nothing is gained"


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ((1.0, 1.0, 0.0), 1.0),  # as many voxels as are sure
        ((0.9, 0.6, 0.4, 0.1), 0.4),  # one to four voxels: 1.8 / 3, 3 / 4, 3.8 / 5, 4 / 6
        ((0.1, 0.4, 0.1, 0.4), 0.4),  # 0.8 / 2, 1.6 / 3, 1.8 / 4, 2 / 5
        ((0.25, 0.0, 0.25, 0.25, 0.25), 0.25),  # 0.5 / 2, 1 / 3, 1.5 / 4, 2 / 5
        ((0.0, 0.0), 1.0),  # nothing is as probable as that
    ],
)
def test_the_best_limit_falls_with_the_blur(values, limit):
    assert best_limit(volume(*values)) == pytest.approx(limit)
