"""Label maps of an atlas on other grids than the working one."""

import numpy as np
import pytest
import torch

from scripts.common.files import write_nifti
from scripts.common.label_channels import LabelChannels
from scripts.data.cached_volume import CachedVolume
from scripts.label_propagation.atlas import read_atlas
from tests.embedding_fixtures import SHAPE, SPACING_MM, oracle

AFFINE = np.diag([*SPACING_MM, 1.0])
VOLUME = CachedVolume(torch.zeros(1, *SHAPE), torch.ones(SHAPE, dtype=torch.bool), AFFINE)
CLASSES = LabelChannels({"liver": 3, "spleen": 5})


def test_an_atlas_is_read_from_a_label_map_on_another_grid(tmp_path):
    fine = np.zeros([2 * size for size in SHAPE], dtype=np.uint8)
    fine[:8, :8, :8], fine[8:16, :8, :8] = 5, 9
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25 * SPACING_MM
    write_nifti(tmp_path / "label.nii.gz", fine, affine)
    atlas = read_atlas(tmp_path / "label.nii.gz", VOLUME, oracle(lambda places: places), CLASSES)
    assert atlas.shares.shape == (3, *SHAPE) and (atlas.shares.sum(axis=0) == 1).all()
    assert atlas.shares[2].sum() == 4**3 and not atlas.shares[1].any(), "9 is no class: background"
    assert atlas.fractions[2].sum() == 2**3


def test_a_class_thinner_than_a_voxel_keeps_its_volume(tmp_path):
    """A sheet of half a working voxel is half of it, wherever its centre is; the cells have a quarter."""
    fine = np.zeros([2 * SHAPE[0], *SHAPE[1:]], dtype=np.uint8)
    fine[9] = 3
    affine = AFFINE @ np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = -0.25 * SPACING_MM[0]
    write_nifti(tmp_path / "label.nii.gz", fine, affine)
    atlas = read_atlas(tmp_path / "label.nii.gz", VOLUME, oracle(lambda places: places), CLASSES)
    np.testing.assert_array_equal(atlas.shares[:, 3:6, 0, 0], [[1, 0.5, 1], [0, 0.5, 0], [0, 0, 0]])
    assert atlas.fractions[1, 1:4, 0, 0].tolist() == [0, 0.25, 0]


@pytest.mark.parametrize("slice_share", [0.3, 1.5])
def test_a_label_map_goes_up_to_the_cut(tmp_path, slice_share):
    """Slices thinner or thicker than the working ones; both grids have one middle, the outermost centres differ."""
    count = round(SHAPE[2] / slice_share)
    affine = AFFINE @ np.diag([1.0, 1.0, slice_share, 1.0])
    affine[2, 3] = ((SHAPE[2] - 1) - (count - 1) * slice_share) / 2 * SPACING_MM[2]
    write_nifti(tmp_path / "label.nii.gz", np.full((*SHAPE[:2], count), 3, dtype=np.uint8), affine)
    atlas = read_atlas(tmp_path / "label.nii.gz", VOLUME, oracle(lambda places: places), CLASSES)
    assert atlas.shares[1][:, :, 1:-1].all() and atlas.shares[1][:, :, [0, -1]].all()
