import numpy as np

from scripts.common.boxes import box_of, boxes_of, overlap_of, slabs_of


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


def test_boxes_of_all_classes_in_either_order_of_memory():
    label = np.zeros((6, 5, 4), dtype=np.uint8)
    label[1:3, 2, 3], label[4, 0:2, 1] = 3, 1
    expected = {3: np.s_[1:3, 2:3, 3:4], 1: np.s_[4:5, 0:2, 1:2]}
    assert boxes_of(label) == boxes_of(np.asfortranarray(label)) == expected


def test_what_boxes_share():
    assert overlap_of(np.s_[0:3, 1:4, 2:5], np.s_[2:9, 0:2, 0:9]) == np.s_[2:3, 1:2, 2:5]
    assert overlap_of(np.s_[0:2, 0:9, 0:9], np.s_[2:9, 0:9, 0:9]) is None
    assert overlap_of(None, np.s_[0:2, 0:9, 0:9]) is None


def test_slabs_cover_a_box_and_are_no_larger_than_asked_for():
    box = np.s_[1:6, 0:2, 3:5]
    assert list(slabs_of(box, most_voxels=9)) == [(slice(a, b), *box[1:]) for a, b in ((1, 3), (3, 5), (5, 6))]
    assert len(list(slabs_of(box, most_voxels=1))) == 5, "one plane at least"
    assert list(slabs_of(box)) == [box] and list(slabs_of(None)) == []
