import numpy as np
import pytest

from scripts.pseudo_labels.kinds.slice_interpolation import (
    found_again_share,
    half_gap_slices,
    interpolated_depth_mm,
    interpolated_distance_mm,
)

SPACING_MM = (1.0, 2.0, 3.0)


def strokes_at(*voxels, shape=(9, 5, 9)):
    strokes = np.zeros(shape, dtype=bool)
    strokes[tuple(np.transpose(voxels))] = True
    return strokes


def test_between_two_slices_the_strokes_move_along_a_line():
    away = interpolated_distance_mm(strokes_at((2, 2, 2), (6, 2, 6)), SPACING_MM)
    for z in range(2, 7):
        assert np.argwhere(away[:, :, z] == 0).tolist() == [[z, 2]]
    assert away[4, 3, 4] == pytest.approx(2.0) and away[5, 2, 4] == pytest.approx(1.0), "mm in the plane"


def test_beyond_the_outer_slices_they_go_on_for_half_a_gap():
    away = interpolated_distance_mm(strokes_at((2, 2, 2), (6, 2, 6)), SPACING_MM)
    assert np.isfinite(away).any(axis=(0, 1)).tolist() == [True] * 9, "two slices of four at either end"
    assert np.argwhere(away[:, :, 1] == 0).tolist() == [[1, 2]] and np.argwhere(away[:, :, 8] == 0).tolist() == [[8, 2]]
    away = interpolated_distance_mm(strokes_at((4, 2, 2), (4, 2, 4), (4, 2, 6)), SPACING_MM)
    assert np.isfinite(away).all(axis=(0, 1)).tolist() == [False] + [True] * 7 + [False]


def test_a_single_slice_says_nothing_about_the_others():
    away = interpolated_distance_mm(strokes_at((4, 1, 3)), SPACING_MM)
    assert np.flatnonzero(np.isfinite(away).any(axis=(0, 1))).tolist() == [3] and away[4, 3, 3] == pytest.approx(4.0)


def test_half_a_gap_is_half_of_the_mean():
    assert half_gap_slices(np.array([10, 14, 26])) == 4
    assert half_gap_slices(np.array([10])) == 0


def test_strokes_that_are_left_out_are_found_again_on_a_line():
    """Of two inner slices one lies 3 voxels of 1 mm beside the line that the other three draw, the other 1.2 mm."""
    line = strokes_at((2, 2, 0), (4, 2, 2), (6, 2, 4))
    assert found_again_share(line, 0.1, SPACING_MM) == 1.0
    bent = strokes_at((2, 2, 0), (5, 2, 3), (2, 2, 6), (2, 2, 8))
    assert found_again_share(bent, 2.9, SPACING_MM) == 0.5
    assert found_again_share(bent, 3.0, SPACING_MM) == 1.0
    assert found_again_share(strokes_at((2, 2, 0), (2, 2, 4)), 9.0, SPACING_MM) == 0.0


def discs(*centres_and_radii, shape=(21, 15, 9)):
    """Painted slices: discs of a radius in mm around voxels (x, 7), on voxels of 1 x 2 mm."""
    x, y = np.ogrid[: shape[0], : shape[1]]
    painted = np.zeros(shape, dtype=bool)
    for z, centre, radius_mm in centres_and_radii:
        painted[:, :, z] |= np.hypot(x - centre, 2.0 * (y - 7)) <= radius_mm
    return painted


def test_a_painted_slice_stays_as_it_is():
    painted = discs((2, 6, 4), (6, 14, 2))
    depth_mm = interpolated_depth_mm(painted, SPACING_MM)
    for z in (2, 6):
        np.testing.assert_array_equal(depth_mm[:, :, z] > 0, painted[:, :, z])
    assert depth_mm[10, 7, 2] == 1.0 and depth_mm[11, 7, 2] == -1.0 and depth_mm[13, 7, 2] == -3.0, "voxels of 1 mm"


def test_between_two_painted_slices_the_shape_moves_and_changes_its_size():
    depth_mm = interpolated_depth_mm(discs((2, 6, 4), (6, 14, 2)), SPACING_MM)
    assert np.flatnonzero(depth_mm[:, 7, 4] > 0).tolist() == [7, 8, 9, 10, 11, 12, 13], "radius 3 around 10"


def test_a_part_that_ends_does_not_move_the_other_one():
    """Two discs on one slice, one of them on the next: that one stays in its place."""
    painted = discs((2, 4, 3), (2, 16, 3), (6, 4, 3))
    depth_mm = interpolated_depth_mm(painted, SPACING_MM)
    for z in (3, 4, 5):
        np.testing.assert_array_equal(depth_mm[:11, :, z] > 0, painted[:11, :, 2])


def test_beyond_its_outer_slices_a_painted_organ_closes_within_half_a_gap():
    """Discs of 4 mm on slices 3 mm apart are less by 3 mm on the next one, by 6 mm on the one after: nothing."""
    depth_mm = interpolated_depth_mm(discs((2, 10, 4), (6, 10, 4)), SPACING_MM)
    assert depth_mm[9:12, 7, 7] == pytest.approx(depth_mm[9:12, 7, 6] - 3.0) and depth_mm[10, 7, 7] > 0
    assert (depth_mm[:, :, [0, 8]] < 0).all() and np.isfinite(depth_mm).all()
    wide = interpolated_depth_mm(discs((2, 10, 4), (4, 10, 4)), SPACING_MM)
    assert np.isneginf(wide[:, :, 0]).all() and np.isneginf(wide[:, :, 6:]).all(), "one slice is half of this gap"
