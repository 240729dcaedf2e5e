"""Label maps brought to their case's own grid, or refused."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.case import Case
from scripts.data.reading.alignment import MOVED, on_grid_of, onto_grid
from scripts.data.reading.volume import Volume

SHAPE = (6, 5, 4)
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 3, 0, -30], [0, 0.6, 5, 7], [0, 0, 0, 1]])  # sheared, left-handed


def labels():
    array = np.zeros(SHAPE, np.int16)
    array[1, 2, 3], array[4, 0, 1], array[5, 4, 0] = 1, 2, 3
    return array


def case(tmp_path, qform=None):
    rows = tuple(tuple(row) for row in AFFINE.tolist())
    image = nib.Nifti1Image(labels(), AFFINE)
    image.set_qform(qform, 0 if qform is None else 1)
    nib.save(image, tmp_path / "a.nii")
    return Case("a", tmp_path / "a.nii", tmp_path / "a.nii", SHAPE, (2.0, 3.06, 5.0), rows, "LAS", "0")


def placed(label, tmp_path):
    return on_grid_of(label, case(tmp_path), tmp_path / "strokes.nii", "scribbles")


@pytest.mark.parametrize("flips", [(1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_flips_and_permutations_are_turned_back(tmp_path, order, flips):
    orientation = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)], float)
    turned = nib.apply_orientation(labels(), orientation)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(orientation, SHAPE)
    label = placed(Volume(turned, affine), tmp_path)
    np.testing.assert_array_equal(label.array, labels())
    np.testing.assert_array_equal(label.affine, AFFINE)
    assert label.remarks == (MOVED,)


def test_a_crop_by_hand():
    """Voxel (0, 0, 0) of the crop is voxel (1, 0, 1) of the grid."""
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [1, 0, 1, 1])[:3]
    np.testing.assert_array_equal(onto_grid(labels()[1:5, :3, 1:], affine, SHAPE, AFFINE)[1, 2, 3], 1)
    expected = labels()
    expected[5, 4, 0] = 0
    np.testing.assert_array_equal(onto_grid(labels()[1:5, :3, 1:], affine, SHAPE, AFFINE), expected)
    outside = affine.copy()
    outside[:3, 3] = (AFFINE @ [5, 0, 1, 1])[:3]
    assert onto_grid(labels()[1:5, :3, 1:], outside, SHAPE, AFFINE) is None


def test_only_a_segmentation_may_cover_a_part(tmp_path):
    with pytest.raises(BundleError, match=r"are not on the support's grid[\s\S]*6 x 5 x 4[\s\S]*5 x 5 x 4"):
        placed(Volume(labels()[:5], AFFINE), tmp_path)
    expected = labels()
    expected[5] = 0
    np.testing.assert_array_equal(placed(Volume(labels()[:5], AFFINE, names={"liver": 1}), tmp_path).array, expected)


@pytest.mark.parametrize(("offset_mm", "good"), [(0.002, True), (0.019, True), (0.021, False), (1.0, False)])
def test_a_hundredth_of_a_voxel_is_no_difference(tmp_path, offset_mm, good):
    """Voxels are 2 mm along x."""
    affine = AFFINE.copy()
    affine[0, 3] += offset_mm
    label = Volume(labels(), affine)
    if good:
        assert placed(label, tmp_path) is label
    else:
        with pytest.raises(BundleError, match=f"affine is not the support's[\\s\\S]*{offset_mm:g} mm apart"):
            placed(label, tmp_path)


@pytest.mark.parametrize(
    "change", [np.diag([1.01, 1, 1, 1]), np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])]
)
def test_other_voxels_are_refused(tmp_path, change):
    with pytest.raises(BundleError, match="affine is not the support's"):
        placed(Volume(labels(), AFFINE @ change), tmp_path)


def test_a_refusal_names_the_two_places_of_the_volume(tmp_path):
    """ITK takes the qform here, so strokes that 3D Slicer saved lie there."""
    qform = np.diag([-2.0, 3, 5, 1])
    label = Volume(labels(), qform)
    with pytest.raises(BundleError, match=r"mm apart; of the volume: The header's sform and qform put voxels up to"):
        on_grid_of(label, case(tmp_path, qform), tmp_path / "strokes.nii", "scribbles")
