import numpy as np

from scripts.common.boxes import box_of


def test_a_box_grows_within_the_volume():
    label = np.zeros((6, 5, 4), dtype=np.uint8)
    assert box_of(label, (1, 1, 1)) is None
    label[1, 2, 3], label[4, 2, 3] = 7, 1
    assert box_of(label, (0, 0, 0)) == np.s_[1:5, 2:3, 3:4]
    assert box_of(label, (2, 1, 1)) == np.s_[0:6, 1:4, 2:4]
