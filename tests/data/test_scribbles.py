import nibabel as nib
import numpy as np
import pytest

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.data.scribbles import draw_points, read_scribble_points, thin

CLASSES = {"spleen": 1, "left_kidney": 3}
SPACING_MM = (1.0, 2.0, 3.0)
GRIDS = [("LAS", 0), ("LPS", 0), ("RAS", 0), ("LPS", 25), ("ASL", -10)]


def scribbles(points, shape=(24, 18, 16)):
    array = np.zeros(shape, np.uint8)
    for voxel, value in points:
        array[voxel] = value
    return array


def test_every_voxel_of_a_class_is_a_point(tmp_path, make_affine, write_volume):
    """The official code drops classes with one voxel, and the last point where N mod 32 is 1."""
    line = [((n % 20, 3 + n // 20, 5), 1) for n in range(33)]
    array = scribbles([*line, ((9, 9, 9), 3), ((1, 1, 1), 8), ((2, 1, 1), 8)])
    affine = make_affine("LAS", SPACING_MM)
    points = read_scribble_points(write_volume(tmp_path, array, affine), CLASSES)
    assert [int(np.sum(points.labels == value)) for value in (1, 3, 0)] == [33, 1, 2]
    assert {tuple(v) for v in points.voxels[points.labels == 1].tolist()} == {voxel for voxel, _ in line}
    assert points.voxels[points.labels == 3].tolist() == [[9, 9, 9]]
    np.testing.assert_allclose(points.world_mm, nib.affines.apply_affine(affine, points.voxels))


def test_strokes_of_unnamed_classes_are_background(tmp_path, make_affine, write_volume):
    array = scribbles([((1, 1, 1), 1), ((2, 2, 2), 3), ((3, 3, 3), 6), ((4, 4, 4), 8)])
    points = read_scribble_points(write_volume(tmp_path, array, make_affine("RAS", SPACING_MM)), {"spleen": 1})
    assert points.labels.tolist() == [1, 0, 0, 0]
    assert points.voxels.tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]


def test_limits_are_per_class(tmp_path, make_affine, write_volume):
    array = scribbles([((n, 1, 1), 1) for n in range(20)])
    array[4, 5, 6] = 3
    array[:20, 12, :10] = 8
    path = write_volume(tmp_path, array, make_affine("LPS", SPACING_MM))
    points = read_scribble_points(path, CLASSES, class_limit=5, background_limit=30)
    assert [int(np.sum(points.labels == value)) for value in (1, 3, 0)] == [5, 1, 30]


def test_a_class_without_strokes_has_no_points(tmp_path, make_affine, write_volume):
    path = write_volume(tmp_path, scribbles([((1, 1, 1), 1)]), make_affine("LPS", SPACING_MM))
    assert read_scribble_points(path, CLASSES).labels.tolist() == [1]


def test_thinning_is_even():
    line_mm = np.column_stack([np.arange(101) * 2.0, np.zeros(101), np.zeros(101)])
    chosen = thin(line_mm, 5)
    assert chosen.tolist() == [0, 25, 50, 75, 100]
    gaps = np.diff(thin(line_mm, 26))
    assert len(gaps) == 25 and gaps.min() >= 3 and gaps.max() <= 7, "gaps differ by halving one, no more"
    assert thin(line_mm, None).tolist() == thin(line_mm, 101).tolist() == list(range(101))
    assert thin(line_mm[:1], 5).tolist() == [0] and thin(line_mm[:0], 5).tolist() == []


def test_thinning_measures_in_mm():
    """Ten voxels along a 1 mm axis are nearer than three along a 5 mm axis."""
    points_mm = np.array([[0, 0, 0], [10.0, 0, 0], [0, 0, 15.0]])
    assert thin(points_mm, 2).tolist() == [0, 2]


@pytest.mark.parametrize(("codes", "degrees"), GRIDS)
def test_world_and_voxels_are_inverse(make_affine, codes, degrees):
    affine = make_affine(codes, SPACING_MM, degrees)
    voxels = np.array([[0, 0, 0], [3.25, 7.5, 2], [23, 17, 15]])
    world_mm = to_world(voxels, affine)
    np.testing.assert_allclose(world_mm, nib.affines.apply_affine(affine, voxels), atol=1e-9)
    np.testing.assert_allclose(to_voxels(world_mm, affine), voxels, atol=1e-9)


def test_world_by_hand(make_affine):
    """The affine of the fixture starts at (10, -20, 30)."""
    las = make_affine("LAS", SPACING_MM)
    assert to_world(np.array([[1, 2, 3]]), las).tolist() == [[10 - 1, -20 + 4, 30 + 9]]
    lps = make_affine("LPS", SPACING_MM)
    assert to_world(np.array([[1, 2, 3]]), lps).tolist() == [[10 - 1, -20 - 4, 30 + 9]]


@pytest.mark.parametrize(("codes", "degrees"), GRIDS)
def test_points_drawn_are_points_read(tmp_path, make_affine, write_volume, codes, degrees):
    affine = make_affine(codes, SPACING_MM, degrees)
    array = scribbles([((1, 2, 3), 1), ((23, 17, 15), 1), ((7, 0, 9), 3)])
    points = read_scribble_points(write_volume(tmp_path, array, affine), CLASSES)
    drawn = draw_points(points.world_mm, points.labels, np.zeros(3), affine, array.shape)
    assert drawn.dtype == np.uint8 and np.array_equal(drawn, array)


def test_the_highest_priority_stays(make_affine):
    affine = make_affine("LPS", SPACING_MM, 25)
    world_mm = to_world(np.array([[2, 2, 2]] * 3 + [[3, 3, 3]]), affine)
    for order, expected in (([0.9, -1, 0.2, -1], 1), ([0.1, -1, 0.2, -1], 3)):
        drawn = draw_points(world_mm, np.array([1, 8, 3, 8]), np.array(order), affine, (5, 5, 5))
        assert drawn[2, 2, 2] == expected and drawn[3, 3, 3] == 8 and np.count_nonzero(drawn) == 2


def test_points_outside_are_drawn_at_the_border(make_affine):
    affine = make_affine("RAS", SPACING_MM)
    drawn = draw_points(to_world(np.array([[-9, 2.4, 99]]), affine), np.array([1]), np.zeros(1), affine, (5, 5, 5))
    assert np.argwhere(drawn).tolist() == [[0, 2, 4]]
    assert nearest_voxels(np.array([[-0.6, 2.6, 4.4]]), (5, 5, 5)).tolist() == [[0, 3, 4]]


def test_no_points(make_affine):
    empty = np.zeros((0, 3))
    assert draw_points(empty, np.zeros(0), np.zeros(0), make_affine("RAS", SPACING_MM), (5, 5, 5)).sum() == 0
