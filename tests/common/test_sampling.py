import numpy as np
import pytest
from scipy import ndimage

from scripts.common.affines import between_grids
from scripts.common.sampling import at_borders, at_corners, finer_slabs, onto_grid, sample_at

RAMP = np.arange(4, dtype=np.float32).reshape(4, 1, 1) * np.ones((1, 2, 3), dtype=np.float32)


def test_between_two_voxels_lies_what_is_linear():
    values = sample_at(RAMP, np.array([[[0.25, 0, 0], [2.5, 1, 2]]]))
    assert values.tolist() == [[0.25, 2.5]] and values.dtype == np.float32


def test_beyond_the_volume_is_the_outermost_voxel_or_the_given_value():
    places = np.array([[-2.0, 0, 0], [5.0, 0, 0]])
    assert sample_at(RAMP, places).tolist() == [0.0, 3.0]
    assert sample_at(RAMP, places, outside=7).tolist() == [7.0, 7.0]


def test_a_finer_grid_in_millimetres():
    coarse, fine = np.diag([4.0, 5.0, 6.0, 1.0]), np.diag([2.0, 5.0, 6.0, 1.0])
    to_coarse = between_grids(fine, coarse)
    assert onto_grid(RAMP, to_coarse, (7, 2, 3), order=1)[:, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    labels = onto_grid(RAMP.astype(np.uint8), to_coarse, (7, 2, 3), order=0)
    assert labels.dtype == np.uint8 and labels[::2, 0, 0].tolist() == [0, 1, 2, 3]


def test_beyond_the_volume_the_outermost_voxel_goes_on_or_the_given_value():
    to_ramp = np.eye(4)
    to_ramp[0, 3] = 2.5  # half a voxel before the last one
    assert onto_grid(RAMP, to_ramp, (3, 2, 3), order=1)[:, 0, 0].tolist() == [2.5, 3, 3]
    assert onto_grid(RAMP, to_ramp, (3, 2, 3), order=1, outside=1)[:, 0, 0].tolist() == [2.5, 2, 1], "3 blends with 1"
    assert onto_grid(RAMP, to_ramp, (3, 2, 3), order=0, outside=9)[2, 0, 0] == 9


def by_scipy(array, to_array, shape, order=1, **border):
    return ndimage.affine_transform(array, to_array[:3, :3], to_array[:3, 3], output_shape=shape, order=order, **border)


@pytest.mark.parametrize(
    ("outside", "border"),
    [(None, {"mode": "nearest"}), (0.0, {"mode": "grid-constant"}), (1.0, {"mode": "grid-constant", "cval": 1.0})],
)
def test_a_grid_is_sampled_as_by_scipy_and_with_parallel_axes_but_for_rounding(outside, border):
    array = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    to_array, shape = np.diag([0.37, 0.61, 1.4, 1.0]), (20, 16, 9)
    to_array[:3, 3] = -1.6, -0.4, 0.7
    expected = by_scipy(array, to_array, shape, **border)
    assert np.array_equal(onto_grid(array, to_array, shape, 1, outside), expected)
    parallel = onto_grid(array, to_array, shape, 1, outside, parallel=True)
    assert parallel.dtype == np.float32 and np.abs(parallel - expected).max() < 3e-7


@pytest.mark.parametrize(
    ("outside", "border"), [(None, {"mode": "nearest"}), (7, {"mode": "grid-constant", "cval": 7})]
)
@pytest.mark.parametrize("steps", [(0.5, 0.25, 1.0), (-0.5, 2.0, 0.37)])
def test_the_nearest_voxel_is_the_one_that_scipy_takes_half_way_too(steps, outside, border):
    array = np.random.default_rng(0).integers(0, 9, (5, 6, 7), dtype=np.uint8)
    to_array, shape = np.diag([*steps, 1.0]), (13, 16, 9)
    to_array[:3, 3] = 2.25, -0.75, 0.5
    nearest = onto_grid(array, to_array, shape, 0, outside)
    assert nearest.dtype == np.uint8 and np.array_equal(nearest, by_scipy(array, to_array, shape, 0, **border))


def test_between_equal_voxels_lies_their_value_to_the_bit():
    array = np.full((3, 4, 5), 0.1, dtype=np.float32)
    to_array = np.diag([0.37, 0.61, 0.83, 1.0])
    assert (onto_grid(array, to_array, (8, 6, 6), order=1, parallel=True) == array[0, 0, 0]).all()


def test_axes_that_are_not_parallel_need_the_whole_matrix():
    swapped = np.eye(4)[[1, 0, 2, 3]]
    assert np.array_equal(onto_grid(RAMP, swapped, (2, 4, 3), order=0), RAMP.transpose(1, 0, 2))


def test_the_same_grid_costs_nothing():
    assert onto_grid(RAMP, np.eye(4), RAMP.shape, order=1, parallel=True) is RAMP


def test_borders_lie_where_corners_from_a_voxel_on_have_several_labels():
    label = np.random.default_rng(0).integers(0, 2, (5, 4, 6)) * (np.arange(6) > 2)
    corners = [slice(index, index + 2) for index in range(6)]
    several = [len(np.unique(label[corners[x], corners[y], corners[z]])) > 1 for x, y, z in np.ndindex(label.shape)]
    assert at_borders(label).ravel().tolist() == several and 0 < sum(several) < label.size


def test_a_mask_reaches_the_voxels_whose_corners_it_holds():
    mask = np.zeros((4, 4, 4), bool)
    mask[2, 2, 2] = True
    assert np.argwhere(at_corners(mask)).tolist() == [[x, y, z] for x in (1, 2) for y in (1, 2) for z in (1, 2)]
    assert np.argwhere(at_corners(mask, [1])).tolist() == [[2, 1, 2], [2, 2, 2]]


def test_slabs_of_a_finer_grid_hold_everything_that_is_labelled():
    label = np.zeros((4, 3, 3), dtype=np.uint8)
    label[2, 1, 1] = 5
    places = [np.array([0.0, 1.5, 2.0, 2.5]), np.array([1.0, 1.5]), np.array([0.5, 1.0, 1.0])]
    (slab,) = finer_slabs(label, at_borders(label), places)
    assert [(side.start, side.stop) for side in slab.box] == [(1, 4), (0, 2), (0, 3)]
    assert np.argwhere(slab.label).tolist() == [[x, y, z] for x in (1, 2) for y in (0, 1) for z in (1, 2)]
    assert len(slab.at) == 3 * 2 * 3, "each of them lies between the voxel and others"
    assert slab.at[0].tolist() == [1.5, 1.0, 0.5] and [axis[0] for axis in slab.looked] == [0, 0, 0]
    assert list(finer_slabs(np.zeros_like(label), np.zeros(label.shape, bool), places)) == []
