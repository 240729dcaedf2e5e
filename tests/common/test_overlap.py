import numpy as np
import pytest

from scripts.common.overlap import dice_of


def test_dice():
    first, second = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    assert dice_of(first, second) == pytest.approx(2 / 3)
    assert dice_of(first & False, second & False) == 1.0
