"""Certainty and noise by hand."""

import numpy as np
import pytest
import torch

from scripts.common.errors import BundleError
from scripts.registration.certainty import certainty_of, noise_of, settled_by_certainty
from scripts.registration.deformable import RegistrationSettings, deformable_displacements


def noisy(shape, deviation, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, deviation, shape).astype(np.float32))


def test_noise_is_told_beside_slopes_edges_and_flat_places():
    x = torch.arange(40, dtype=torch.float32)[:, None, None].expand(40, 40, 40)
    image = 3 * x + 200 * (x > 20) + noisy((40, 40, 40), 10.0)
    assert noise_of(image) == pytest.approx(10.0, rel=0.05)
    image[:, :20] = 0.0
    assert noise_of(image) == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("shape", [(6, 6, 6), (2, 1, 2)])
def test_a_flat_image_and_one_too_thin_to_tell_have_no_noise(shape):
    assert noise_of(torch.full(shape, 7.0)) == 0.0


def test_certainty_is_a_half_where_grey_values_vary_as_noise_does():
    """Planes of 1 and -1: of the 27 voxels around each, a third has one sign, two thirds the other."""
    planes = (1.0 - 2.0 * (torch.arange(10) % 2))[:, None, None].expand(10, 9, 9)
    inner = np.s_[1:-1, 1:-1, 1:-1]
    assert torch.allclose(certainty_of(planes, (8 / 9) ** 0.5)[inner], torch.tensor(0.5))
    assert torch.allclose(certainty_of(planes, 0.0)[inner], torch.tensor(1.0))


def test_a_flat_place_without_noise_is_uncertain():
    assert not certainty_of(torch.full((5, 5, 5), 3.0), 0.0).any()


def test_an_uncertain_place_goes_with_the_certain_ones_around_it():
    displacement, certainty = torch.full((3, 11, 9, 7), 3.0), torch.ones(11, 9, 7)
    displacement[:, 5, 4, 3], certainty[5, 4, 3] = -50.0, 0.0
    assert torch.allclose(settled_by_certainty(displacement, certainty, 2.0), torch.tensor(3.0))


def test_certain_places_and_those_far_from_any_keep_their_displacement():
    displacement = noisy((3, 6, 6, 6), 1.0)
    for certainty in (torch.ones(6, 6, 6), torch.zeros(6, 6, 6)):
        assert torch.allclose(settled_by_certainty(displacement, certainty, 2.0), displacement)


def test_what_shows_nothing_but_noise_is_moved_with_its_surroundings():
    """A body that moves by two voxels as a whole; a third of it is noise of its own in each image."""
    rng = np.random.default_rng(1)
    texture = torch.nn.functional.avg_pool3d(noisy((1, 1, 38, 30, 30), 1.0), 3, stride=1)[0, 0] * 5
    fixed, moving = texture[2:34, :28, :28].clone(), texture[:32, :28, :28].clone()
    middle = np.s_[12:20, 10:18, 10:18]
    for image in (fixed, moving):
        image[:, 8:20, 8:20] = 0.0
        image += torch.from_numpy(rng.normal(0, 0.05, image.shape).astype(np.float32))
    start = torch.zeros(3, *fixed.shape)

    def error(**settings):
        moved = deformable_displacements(fixed, moving, start, RegistrationSettings(**settings))
        return float((moved - torch.tensor([2.0, 0, 0])[:, None, None, None])[(slice(None), *middle)].abs().mean())

    assert error() < 0.7 * error(registration_noise=0.0)


@pytest.mark.parametrize("settings", [{"registration_noise": -1.0}, {"registration_certain_voxels": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BundleError, match="the certainty of a displacement is out of range"):
        RegistrationSettings(**settings)
