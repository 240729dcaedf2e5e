"""Numbering that differs between predictions and labels."""

import numpy as np
import pytest

from scripts.quality.exchanged_values import other_value, value_dice


def test_every_value_inside_a_mask_has_its_dice():
    predicted = np.array([0, 2, 2, 2, 5, 7]).reshape(-1, 1, 1)
    mask = np.array([1, 1, 1, 0, 1, 0], bool).reshape(-1, 1, 1)
    assert value_dice(predicted, mask) == pytest.approx({2: 2 * 2 / (4 + 3), 5: 2 * 1 / (4 + 1)})
    assert value_dice(predicted, np.zeros_like(mask)) == {}


@pytest.mark.parametrize(
    ("dice", "found"),
    [
        ([{1: 0.0, 3: 0.8}, {3: 0.4}], 3),
        ([{1: 0.0, 3: 0.8}, {1: 0.9}], None),
        ([{1: 0.1, 3: 0.49}], None),
        ([{1: 0.0}], None),
        ([], None),
    ],
    ids=["another", "one case alone", "neither", "nothing", "no case"],
)
def test_another_value_fits_where_the_own_one_does_not_over_all_cases(dice, found):
    assert other_value(dice, 1) == found
