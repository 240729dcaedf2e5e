"""Contours of masks: which points, which way round holes, and that the voxels within them are the mask."""

import numpy as np
import pytest

from bundle.dicom.contours import outlines
from scripts.data.reading.polygons import filled


def test_one_voxel_is_a_diamond_and_a_row_has_no_points_in_the_middle_of_its_sides():
    mask = np.zeros((7, 5), bool)
    mask[2, 1] = True
    (diamond,) = outlines(mask)
    assert {tuple(point) for point in diamond} == {(1.5, 1), (2.5, 1), (2, 0.5), (2, 1.5)}
    mask[2:6, 1] = True
    (row,) = outlines(mask)
    assert {tuple(p) for p in row} == {(1.5, 1), (5.5, 1), (2, 0.5), (5, 0.5), (2, 1.5), (5, 1.5)}


def test_a_mask_at_the_edge_of_the_slice_is_closed():
    (ring,) = outlines(np.ones((2, 3), bool))
    assert ring.min(axis=0).tolist() == [-0.5, -0.5] and ring.max(axis=0).tolist() == [1.5, 2.5]
    np.testing.assert_array_equal(filled([ring], (2, 3)), True)


def test_a_hole_is_reached_by_a_keyhole_and_an_island_in_it_is_a_part_of_its_own():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    assert sorted(len(ring) for ring in outlines(mask)) == [4, 8 + 8 + 2]  # and both ends of the channel once more
    np.testing.assert_array_equal(filled(outlines(mask), (9, 9)), mask)


def test_voxels_that_share_a_corner_are_parts_of_their_own():
    assert len(outlines(np.eye(3, dtype=bool))) == 3
    assert outlines(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
def test_any_mask_comes_back_from_its_contours(density):
    for seed in range(5):
        mask = np.random.default_rng(seed).random((40, 30)) < density
        np.testing.assert_array_equal(filled(outlines(mask), mask.shape), mask)
