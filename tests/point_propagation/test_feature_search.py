"""Bodies of random features: what is around a point is found again, wherever the body lies."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from scripts.point_propagation.feature_maps import FeatureMaps
from scripts.point_propagation.feature_search import FeatureSearchSettings, SearchedPoints, kernels_around, search

SPACING_MM = (1.0, 1.0, 2.0)
STRIDES = {"m1": 8, "m2": 4}
SETTINGS = FeatureSearchSettings(("m1", "m2"), window_mm=32.0, kernel_mm=8.0, search_prior_mm=1000.0)
SHAPE = (64, 64, 32)
POINT = (29.5, 25.5, 13.5)  # the middle of a cell of the finer level
EVERYWHERE = torch.ones(100, 100, 60, dtype=torch.bool)


def body_of(shift=(0, 0, 0), origin=(0, 0, 0)):
    """Random features, the same in every body, `shift` voxels (multiples of 8) further on."""
    generator = torch.Generator().manual_seed(0)
    levels = {}
    for level, stride in STRIDES.items():
        features = torch.randn(8, *(size // stride for size in SHAPE), generator=generator)
        cells = [voxels // stride for voxels in shift]
        levels[level] = functional.normalize(features.roll(cells, dims=(1, 2, 3)), dim=0).half()
    return FeatureMaps(levels, STRIDES, torch.tensor(origin))


def found(proposed, shift=(0, 0, 0), body=EVERYWHERE, origin=(0, 0, 0), point=POINT, **changes):
    support = SearchedPoints(torch.tensor([point]), EVERYWHERE, body_of())
    maps, settings = body_of(shift, origin), replace(SETTINGS, **changes)
    return search(support, maps, body, torch.tensor([proposed]), SPACING_MM, settings)[0].tolist()


@pytest.mark.parametrize("proposed", [POINT, (45.0, 10.0, 20.0), (10.0, 40.0, 5.0)])
def test_a_point_is_found_wherever_the_networks_put_it_within_the_window(proposed):
    assert found(proposed) == [*POINT]


def test_a_point_is_found_where_its_surroundings_went():
    assert found((30.0, 30.0, 14.0), shift=(8, -8, 0)) == [37.5, 17.5, 13.5]
    assert found((35.0, 35.0, 20.0), origin=(5, 7, 3)) == [34.5, 32.5, 16.5]


def test_a_point_at_the_end_of_the_maps_is_found_by_what_is_shown_of_its_surroundings():
    assert found((12.0, 12.0, 6.0), point=(1.5, 1.5, 1.5)) == [1.5, 1.5, 1.5]


def test_no_place_beyond_the_window_or_the_body_is_taken():
    x, y, z = found((50.0, 50.0, 20.0), window_mm=8.0)
    assert abs(x - 50) <= 10 and abs(y - 50) <= 10 and abs(z - 20) <= 6  # 8 mm, and half a cell
    body = torch.zeros_like(EVERYWHERE)
    body[40:50, 20:30, 10:20] = True
    x, y, z = found((35.0, 25.0, 14.0), body=body)
    assert body[round(x), round(y), round(z)]


def test_a_point_without_a_place_to_look_at_stays_where_it_was_proposed():
    assert found((30.0, 30.0, 14.0), body=torch.zeros_like(EVERYWHERE)) == [30, 30, 14]
    assert found((200.0, 30.0, 14.0)) == [200, 30, 14]


def test_the_proposed_place_wins_where_its_gaussian_is_narrow():
    x, y, z = found((45.0, 25.0, 13.0), search_prior_mm=2.0)
    assert max(abs(x - 45), abs(y - 25), abs(z - 13)) <= 2


def test_a_kernel_is_centred_on_its_point_between_cells():
    angles = torch.arange(8.0).expand(8, 8, 8) / 4
    maps = FeatureMaps({"m2": torch.stack([angles.cos(), angles.sin()]).half()}, {"m2": 4}, torch.zeros(3))
    kernel = kernels_around(maps, "m2", torch.tensor([[13.5, 13.5, 15.5]]), (1.0, 2.0, 4.0), 12.0)
    assert kernel.shape == (1, 2, 7, 5, 3)  # 12 mm are 3, 1.5 and 0.75 cells
    along_z = torch.atan2(kernel[0, 1, 3, 2], kernel[0, 0, 3, 2])
    assert along_z.tolist() == pytest.approx([2.5 / 4, 3.5 / 4, 4.5 / 4], abs=2e-3)
