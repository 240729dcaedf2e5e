"""Voxels within and along contours."""

import numpy as np

from scripts.data.reading.polygons import drawn, filled

SQUARE = np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])


def test_centres_within_the_contour_are_filled_either_way_round():
    expected = np.zeros((5, 4), bool)
    expected[1:4, 1:3] = True
    np.testing.assert_array_equal(filled([SQUARE], (5, 4)), expected)
    np.testing.assert_array_equal(filled([SQUARE[::-1]], (5, 4)), expected)


def test_a_contour_within_another_is_a_hole_and_one_beyond_the_slice_is_cut():
    hole = np.array([[1.5, 0.5], [2.5, 0.5], [2.5, 1.5], [1.5, 1.5]])
    mask = filled([SQUARE, hole], (5, 4))
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [2, 2], [3, 1], [3, 2]]
    np.testing.assert_array_equal(filled([SQUARE * 10 - 15], (5, 4)), True)
    assert not filled([SQUARE + 20], (5, 4)).any()
    assert not filled([], (5, 4)).any()


def test_a_way_there_and_back_adds_nothing_even_through_centres():
    spike = np.array([[0.5, 0.5], [2, 1], [3, 3.7], [2, 1], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])
    plain = np.array([[0.5, 0.5], [2, 1], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])
    np.testing.assert_array_equal(filled([spike], (5, 5)), filled([plain], (5, 5)))


def test_a_line_marks_the_voxels_that_it_passes():
    assert np.argwhere(drawn(np.array([[0, 0], [3, 0], [3, 2.0]]), (4, 3))).tolist() == [
        [0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [3, 2],
    ]  # fmt: skip
    assert np.argwhere(drawn(np.array([[2.4, 1.4]]), (4, 3))).tolist() == [[2, 1]]
    assert not drawn(np.array([[7.0, 7], [9, 9]]), (4, 3)).any()
