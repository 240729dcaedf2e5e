import numpy as np
import pytest

from scripts.common.affines import (
    are_parallel,
    between_grids,
    between_parallel_grids,
    nearest_voxels,
    spacing_of,
    to_voxels,
    to_world,
    voxel_ml,
)

# Axes L, S, P; steps of 2, 3 and 5 mm.
LSP = np.array([[-2.0, 0, 0, 10], [0, 0, -5, 20], [0, 3, 0, 30], [0, 0, 0, 1]])
# X and Y turned by the angle of the 3-4-5 triangle; steps of 5, 10 and 2 mm.
OBLIQUE = np.array([[3.0, -8, 0, 1], [4, 6, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])


def test_spacing_is_along_the_array_s_own_axes():
    assert spacing_of(LSP) == (2.0, 3.0, 5.0)
    assert spacing_of(OBLIQUE) == (5.0, 10.0, 2.0)


@pytest.mark.parametrize(
    ("affine", "voxel", "world_mm"), [(LSP, (1, 2, 3), (8, 5, 36)), (OBLIQUE, (1, 2, 3), (1 + 3 - 16, 2 + 4 + 12, 9))]
)
def test_voxels_and_millimetres_by_hand(affine, voxel, world_mm):
    assert to_world(np.array([voxel]), affine).tolist() == [list(world_mm)]
    assert to_voxels(np.array([world_mm]), affine) == pytest.approx(np.array([voxel], dtype=float))


def test_between_two_voxels_lies_a_fraction():
    assert to_voxels(np.array([[9.0, 20, 30]]), LSP) == pytest.approx(np.array([[0.5, 0, 0]]))


def test_the_nearest_voxel_lies_in_the_volume():
    places = np.array([[-3.0, 0.4, 1.6], [7.0, 2.5, 3.5]])
    assert nearest_voxels(places, (6, 5, 4)).tolist() == [[0, 0, 2], [5, 2, 3]], "halves go to the even number"


def test_from_one_grid_to_another():
    finer = LSP @ np.diag([0.5, 1, 0.2, 1])  # the same corner, half and a fifth of the steps
    assert between_grids(finer, LSP) == pytest.approx(np.diag([0.5, 1, 0.2, 1]))
    voxel = between_grids(OBLIQUE, LSP) @ np.array([1, 2, 3, 1.0])
    assert voxel[:3] == pytest.approx(to_voxels(to_world(np.array([[1, 2, 3]]), OBLIQUE), LSP)[0])


def test_axes_are_parallel_while_no_place_of_the_grid_is_off_by_more_than_rounding():
    """A step along z goes 1e-5 voxels along x and back as far along y: 1e-3 voxels after 100 steps."""
    to_other = np.diag([0.5, 2.0, 3.0, 1.0])
    assert are_parallel(to_other, (50, 50, 1000))
    to_other[:2, 2] = 1e-5, -1e-5
    assert are_parallel(to_other, (50, 50, 99)) and not are_parallel(to_other, (50, 50, 101))
    to_other[0, 1] = -1e-5  # what one axis adds another may take away, but not everywhere
    assert not are_parallel(to_other, (50, 99, 99))


def test_oblique_grids_are_parallel_to_their_own_parts_but_for_the_digits_of_a_header():
    oblique = OBLIQUE.copy()
    oblique[:3, :3] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] @ OBLIQUE[:3, :3]
    finer = oblique @ np.array([[0.5, 0, 0, 3], [0, 0.25, 0, -2], [0, 0, 2, 1], [0, 0, 0, 1]])
    stored = oblique.astype(np.float32).astype(float)
    assert are_parallel(between_grids(finer, stored), (512, 512, 600))
    assert np.array_equal(between_parallel_grids(finer, stored, (512, 512, 600)), between_grids(finer, stored))


def test_who_takes_each_axis_by_itself_meets_no_sheared_grid():
    sheared = LSP.copy()
    sheared[1, 1] = 0.1  # a tenth of a millimetre for each step of 3 mm
    assert between_parallel_grids(LSP, LSP, (40, 40, 40)) == pytest.approx(np.eye(4))
    with pytest.raises(ValueError, match="not parallel"):
        between_parallel_grids(sheared, LSP, (40, 40, 40))


def test_a_sheared_voxel_is_as_large_as_its_base_times_its_height():
    """Base 2 x 3 mm, height 4 mm; its slanted edges of 5 mm would make it 30 cubic millimetres."""
    sheared = np.array([[2.0, 0, 0, 9], [0, 3, 3, 9], [0, 0, 4, 9], [0, 0, 0, 1]])
    assert spacing_of(sheared) == (2.0, 3.0, 5.0) and voxel_ml(sheared) == pytest.approx(0.024)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ sheared[:, [2, 0, 1, 3]]
    assert voxel_ml(mirrored) == pytest.approx(0.024)


def test_a_voxel_of_orthogonal_axes_is_a_box_to_the_last_digit():
    assert voxel_ml(LSP) == 0.03 and voxel_ml(OBLIQUE) == 0.1
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    oblique = np.eye(4)
    oblique[:3, :3] = turned * [0.7421875, 0.81, 1.25]
    for affine in (oblique, oblique.astype(np.float32).astype(float)):  # as a header has it
        assert voxel_ml(affine) == float(np.prod(spacing_of(affine))) / 1000
