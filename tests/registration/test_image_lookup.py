import pytest
import torch
from torch.nn import functional

from scripts.registration.image_lookup import looked_up


def by_torch(image, places):
    last = torch.tensor([max(size - 1, 1) for size in image.shape]).view(3, 1, 1, 1)
    grid = (2 * places / last - 1).flip(0).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(image[None, None], grid, padding_mode="border", align_corners=True)[0, 0]


@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6, 1)])
def test_values_and_slopes_are_those_of_torch_inside_and_beyond_the_image(shape):
    torch.manual_seed(0)
    image, weights = torch.rand(*shape, dtype=torch.float64), torch.rand(4, 5, 6, dtype=torch.float64)
    expected = (9 * torch.rand(3, 4, 5, 6, dtype=torch.float64) - 1).requires_grad_()
    found = expected.detach().clone().requires_grad_()
    values = looked_up(image, found)
    assert (values - by_torch(image, expected)).abs().max() < 1e-12
    (values * weights).sum().backward()
    (by_torch(image, expected) * weights).sum().backward()
    if shape[2] == 1:  # torch divides by the one voxel that is not there
        expected.grad[2] = 0
    assert (found.grad - expected.grad).abs().max() < 1e-12


def test_a_place_on_a_voxel_has_its_value():
    image = torch.arange(24.0).view(2, 3, 4)
    assert looked_up(image, torch.tensor([[1.0], [2.0], [3.0]])).tolist() == [23.0]
