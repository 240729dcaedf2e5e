import numpy as np
import pytest

from scripts.common.masks.largest_parts import count_of_parts, keep_largest_parts


def along_x(*values):
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def kept(label, *rule):
    """What is left of a label map's copy, as nested lists without the axes of one voxel."""
    label = label.copy()
    keep_largest_parts(label, *rule)
    return label.squeeze().tolist()


def test_parts_that_share_no_face_go_but_the_largest():
    assert kept(along_x(1, 1, 0, 1, 2, 0, 2, 2)) == [1, 1, 0, 0, 0, 0, 2, 2]


def test_parts_connect_by_diagonals_if_asked():
    label = np.zeros((6, 3, 1), np.uint8)
    label[0, 0] = label[1, 1] = label[2, 2] = 1  # three in a diagonal
    label[4:6, 0] = 1
    label[5, 2] = 2
    assert kept(label, None, True) == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 2]]
    assert kept(label) == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 2]]


@pytest.mark.parametrize("diagonals", [False, True])
def test_a_class_in_two_parts_keeps_two_but_small_ones_go(diagonals):
    label = along_x(1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 2, 0, 2)
    two = [1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 2, 0, 0]
    assert kept(label, {1: 2}, diagonals) == two
    assert kept(label, {1: 3}, diagonals) == two, "a fifth of the largest"


def test_of_parts_as_large_as_each_other_the_first_stays():
    label = np.zeros((5, 2, 2), dtype=np.uint8)
    label[0], label[4], label[2, 0, 0] = 1, 1, 2
    keep_largest_parts(label)
    assert label[:, 0, 0].tolist() == [1, 0, 2, 0, 0]


def test_parts_from_a_quarter_of_the_largest_on_count():
    assert count_of_parts(along_x(1, 1, 1, 1, 0, 1, 2, 0, 2), {"lungs": 7, "spleen": 3}) == {"lungs": 2, "spleen": 2}
    assert count_of_parts(along_x(1, 1, 1, 1, 1, 0, 1, 2, 2, 255, 0, 255), {"lungs": 7, "spleen": 3}) == {}
