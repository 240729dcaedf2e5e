"""Patches around places of one volume: unchanged they are the crops of propagation, changed they keep their centre."""

import math

import numpy as np
import pytest
import torch

from scripts.point_propagation.augmented_patches import (
    PLAIN,
    Augmentation,
    augmented_patches,
    random_affines_mm,
    recoloured,
    sample_patches,
)
from scripts.point_propagation.patches import extract_patches, pad_for_patches

SHAPE = (14, 12, 10)
PATCH = (8, 6, 4)
CENTRES = torch.tensor([[7.0, 6, 5], [0, 11, 9], [3, 2, 8]])
SPACING_MM = torch.tensor([2.0, 3.0, 5.0])


@pytest.fixture
def volume():
    """Random tissue from 0.2 to 0.8 in a body that leaves out the first three slices along X."""
    image = 0.2 + 0.6 * torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(0))
    body = torch.ones_like(image)
    body[:, :3] = 0
    return torch.cat([image * body, body])


def draw(volume, augmentation, centres=CENTRES, patch_mm=SPACING_MM):
    generator = torch.Generator().manual_seed(1)
    return augmented_patches(volume, centres, PATCH, SPACING_MM, patch_mm, augmentation, generator)


def only(**largest):
    return Augmentation(**{**vars(PLAIN), **largest})


def test_unchanged_patches_are_those_of_propagation(volume):
    padded = pad_for_patches(volume[:1], PATCH)
    torch.testing.assert_close(draw(volume, PLAIN), extract_patches(padded, CENTRES.long(), PATCH))


def test_a_patch_of_half_the_spacing_shows_half_the_way(volume):
    """A ramp of 1 per voxel along Z: at half the spacing, 0.5 per voxel, around the same centre."""
    ramp = torch.arange(SHAPE[2]).float().expand(1, *SHAPE)
    (patch,), _ = sample_patches(ramp, CENTRES[:1], torch.diag(torch.tensor([1.0, 1, 0.5]))[None], PATCH)
    assert patch[0, 4, 3].tolist() == pytest.approx([4.0, 4.5, 5.0, 5.5])
    finer = draw(volume, PLAIN, CENTRES[:1], SPACING_MM / 2)
    assert finer.shape == (1, 1, *PATCH)
    torch.testing.assert_close(finer[0, 0, 4, 3, ::2], volume[0, 7, 6, 4:6])


def test_the_border_of_the_body_stays_sharp(volume):
    """Between a voxel of tissue and one outside there is tissue or nothing, no mixture."""
    flat = volume.clone()
    flat[0] = 0.6 * flat[1]
    finer = draw(flat, PLAIN, torch.tensor([[3.0, 6, 5]]), SPACING_MM / 3)
    torch.testing.assert_close(finer.max() * (finer > 0), finer)
    assert finer.max() == pytest.approx(0.6)
    assert finer[0, 0, :3].eq(0).all() and finer[0, 0, 3:].gt(0).all(), "half a voxel of 3 around the first of tissue"


def test_every_patch_keeps_its_centre(volume):
    turned = draw(volume, only(zoom=0.2, stretch=0.1, rotation_deg=20.0), CENTRES[:1].repeat(5, 1))
    centre = turned[:, 0, PATCH[0] // 2, PATCH[1] // 2, PATCH[2] // 2]
    torch.testing.assert_close(centre, volume[0, 7, 6, 5].expand(5))
    assert len({float(patch.sum()) for patch in turned}) == 5, "each is turned and scaled otherwise"


def test_affines_turn_in_mm_and_mirror_nothing():
    generator = torch.Generator().manual_seed(0)
    turned = random_affines_mm(50, only(rotation_deg=10.0), generator)
    torch.testing.assert_close(turned @ turned.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    zoomed = random_affines_mm(50, only(zoom=0.2), generator)
    factors = zoomed.diagonal(dim1=1, dim2=2)
    assert (factors == factors[:, :1]).all() and (factors.log().abs() <= 0.2 + 1e-6).all()
    assert factors.log().amax() > 0.1 > -0.1 > factors.log().amin()
    assert (torch.linalg.det(random_affines_mm(50, Augmentation(), generator)) > 0).all()


def test_a_volume_is_cut_at_least_so_far_from_the_centre(volume):
    """Slices of 5 mm, 6 mm left on either side: the centre and its neighbours stay, further ones may go."""
    volume[1], volume[0] = 1, 0.5
    cut = draw(volume, only(cut=1.0, least_mm=6.0), CENTRES[:1].repeat(40, 1))[:, 0, 4, 3] > 0
    assert cut[:, 1:].all() and 0 < int((~cut[:, 0]).sum()) < 40
    whole = draw(volume, only(cut=0.0, least_mm=6.0), CENTRES[:1].repeat(40, 1))[:, 0, 4, 3] > 0
    assert whole.all()


def test_intensities_change_in_order_and_by_patch():
    image = torch.linspace(0, 1, 11).repeat(6, 1)
    changed = recoloured(image, only(log_gamma=0.3, gain=0.1, offset=0.05), torch.Generator().manual_seed(2))
    assert (changed.diff(dim=1) >= 0).all() and changed.min() >= 0 and changed.max() <= 1
    assert len({round(float(row[5]), 5) for row in changed}) == 6
    assert (changed[:, 5] - 0.5).abs().max() <= 0.5 ** math.exp(-0.3) * 1.1 + 0.05 - 0.5
    noisy = recoloured(torch.full((3, 1000), 0.5), only(noise=0.1), torch.Generator().manual_seed(2))
    assert np.all(noisy.std(dim=1).numpy() <= 0.11) and noisy.std() > 0.01
