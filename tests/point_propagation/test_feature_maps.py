import pytest
import torch

from scripts.networks.prnet import LEVELS, PRNet
from scripts.point_propagation.feature_maps import FeatureMaps, feature_maps
from scripts.point_propagation.patches import extract_patches, pad_for_patches


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PRNet((32, 32, 32), width=2).eval()


@pytest.fixture
def volume():
    return torch.rand(1, 40, 24, 20, generator=torch.Generator().manual_seed(1))


def test_a_window_in_the_middle_of_a_tile_is_described_as_the_patch_around_it(network, volume):
    body = torch.zeros(40, 24, 20, dtype=torch.bool)
    body[6:20, 4:14, 2:18] = True
    maps = feature_maps(network, volume, body)
    centre = torch.tensor([[6 + 8, 4 + 8, 2 + 8]])
    patch = extract_patches(pad_for_patches(volume, network.patch_size), centre, network.patch_size)
    _, features = network.describe(patch)
    for level in LEVELS:
        there = maps.at(level, centre + (maps.strides[level] - 1) / 2)
        assert torch.allclose(there, torch.nn.functional.normalize(features[level], dim=1), atol=2e-3)


def test_cells_of_a_level_are_where_its_voxels_are_in_the_middle(network, volume):
    maps = feature_maps(network, volume, torch.ones(40, 24, 20, dtype=torch.bool))
    assert maps.strides == {"m1": 8, "m2": 4, "m3": 2, "m4": 1}
    assert maps.cells("m2", torch.tensor([[5.5, 1.5, 0.0]])).tolist() == [[1.0, 0.0, -0.375]]


def test_tiles_without_body_stay_0_and_tiles_may_leave_the_volume(network, volume):
    body = torch.zeros(40, 24, 20, dtype=torch.bool)
    body[2, 3, 4] = body[39, 3, 4] = True
    maps = feature_maps(network, volume, body)
    described = maps.levels["m4"].any(dim=0)
    assert described.shape == (48, 16, 16)
    assert [bool(part.any()) for part in described.split(16)] == [True, False, True]


def test_a_body_without_a_voxel_is_described_whole(network, volume):
    maps = feature_maps(network, volume, torch.zeros(40, 24, 20, dtype=torch.bool))
    assert maps.levels["m4"].shape == (2, 48, 32, 32)


def test_features_between_two_cells_are_interpolated_and_of_length_1():
    features = torch.zeros(2, 2, 2, 2)
    features[0, 0], features[1, 1] = 1, 1
    maps = FeatureMaps({"m4": features.half()}, {"m4": 2}, torch.tensor([10, 0, 0]))
    middle = maps.at("m4", torch.tensor([[11.5, 0.5, 0.5], [10.5, 0.5, 0.5]]))
    assert torch.allclose(middle, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0]]))
