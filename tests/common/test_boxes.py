import numpy as np

from scripts.common.boxes import box_of


def test_a_box_grows_within_the_volume():
    label = np.zeros((6, 5, 4), dtype=np.uint8)
    assert box_of(label, (1, 1, 1)) is None
    label[1, 2, 3], label[4, 2, 3] = 7, 1
    assert box_of(label) == np.s_[1:5, 2:3, 3:4]
    assert box_of(label, (2, 1, 1)) == np.s_[0:6, 1:4, 2:4]
    assert box_of(label, np.array([2, 1, 1])) == box_of(label, (2, 1, 1))
    assert box_of(label > 0, 1) == np.s_[0:6, 1:4, 2:4]


def test_undecided_background_below_zero_is_not_labelled():
    assert box_of(np.full((2, 2, 2), -1)) is None
