"""Smooth random images, deformed by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.common.errors import BundleError
from scripts.registration.deformable import RegistrationSettings, _slope, deformable_displacements

SHAPE = (30, 26, 34)
INNER = np.s_[:, 5:-5, 5:-5, 5:-5]


def texture(shape=SHAPE, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return (noise / noise.std()).astype(np.float32)


def deformation():
    """(3, X, Y, Z) displacements of up to 3 voxels, another along each axis."""
    x, y, z = np.meshgrid(*(np.arange(size) / size for size in SHAPE), indexing="ij")
    return np.stack([3 * np.sin(np.pi * y), 2 * np.cos(np.pi * z), -3 * np.sin(np.pi * x)])


def looked_up(image, displacement):
    return ndimage.map_coordinates(image, np.indices(SHAPE) + displacement, order=1, mode="nearest").astype(np.float32)


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.5, 3.0), (0.03, 0.5)])
def test_a_deformation_is_found_whatever_the_contrast(gain, offset, device):
    """The last: soft tissue."""
    moving, truth = texture(), deformation()
    fixed = torch.from_numpy(looked_up(moving, truth) * gain + offset).to(device)
    moving = torch.from_numpy(moving * gain + 0.5).to(device)
    with torch.no_grad():
        field = (
            deformable_displacements(fixed, moving, torch.zeros(3, *SHAPE, device=device), RegistrationSettings())
            .cpu()
            .numpy()
        )
    assert np.abs(truth[INNER]).mean() > 1
    assert np.abs(field - truth)[INNER].mean() < 0.3, "voxels"


def test_the_way_begins_at_the_start():
    """Ten steps of half a voxel do not go nine voxels far."""
    moving, few = (
        texture(),
        RegistrationSettings(registration_half_steps=0, registration_steps=10, registration_fine_steps=0),
    )
    truth = np.zeros((3, *SHAPE))
    truth[0] = 9.0
    fixed, moving = torch.from_numpy(looked_up(moving, truth)), torch.from_numpy(moving)
    start = torch.zeros(3, *SHAPE)
    start[0] = 7.5
    shown = np.s_[:, 5:15, 5:-5, 5:-5]  # beyond, the moving image has ended
    assert np.abs(deformable_displacements(fixed, moving, start, few).numpy() - truth)[shown].mean() < 0.5
    assert (
        np.abs(deformable_displacements(fixed, moving, torch.zeros_like(start), few).numpy() - truth)[shown].mean()
        > 1.5
    )


def test_the_last_steps_follow_what_bends_within_a_few_voxels():
    """Displacements of up to one voxel that change their sign every six: too narrow for knots three voxels apart."""
    moving, truth = texture(), np.zeros((3, *SHAPE))
    truth[1] = np.sin(np.pi * np.arange(SHAPE[0]) / 6)[:, None, None]
    fixed, start = torch.from_numpy(looked_up(moving, truth)), torch.zeros(3, *SHAPE)

    def error(**settings):
        field = deformable_displacements(fixed, torch.from_numpy(moving), start, RegistrationSettings(**settings))
        return np.abs(field.numpy() - truth)[INNER].mean()

    assert error() < 0.5 * error(registration_fine_steps=0)


def test_without_steps_the_start_stays():
    start = torch.from_numpy(deformation()).float()
    image = torch.from_numpy(texture())
    assert torch.equal(
        deformable_displacements(
            image,
            image,
            start,
            RegistrationSettings(registration_half_steps=0, registration_steps=0, registration_fine_steps=0),
        ),
        start,
    )


def test_flat_images_deform_nothing():
    """Flat images, as outside the field of view, bright or dark."""
    fixed, moving = torch.full(SHAPE, 0.7), torch.full(SHAPE, 0.3)
    assert deformable_displacements(fixed, moving, torch.zeros(3, *SHAPE), RegistrationSettings()).abs().max() < 0.01


def test_a_thin_volume():
    image = torch.from_numpy(texture((20, 16, 1)))
    field = deformable_displacements(image, image, torch.zeros(3, 20, 16, 1), RegistrationSettings())
    assert field.shape == (3, 20, 16, 1) and field.abs().mean() < 0.1


def test_the_slope_by_hand():
    knots = torch.zeros(3, 3, 2, 2)
    knots[0, 2] = 6.0  # one step of 6 among two along x, in one of three components
    assert float(_slope(knots)) == pytest.approx(36 / 2 / 3)


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_has_a_middle(window):
    with pytest.raises(BundleError, match="the window has no middle"):
        RegistrationSettings(registration_window_voxels=window)
    with pytest.raises(BundleError, match="the window has no middle"):
        RegistrationSettings(registration_fine_window_voxels=window)
