import math

import pytest
import torch

from scripts.point_propagation.relative_position import (
    AllPairsLoss,
    RelativePositionLoss,
    offset_mm,
    predicted_offset_mm,
)


def test_offset_points_from_patch_1_to_patch_0_in_mm():
    spacing_mm = torch.tensor([1.0, 2.0, 3.0])
    d = offset_mm(torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[2.0, 7.0, 4.0]]), spacing_mm)
    assert d.tolist() == [[3.0, -4.0, 3.0]]


def test_equation_2_has_one_reach_per_axis():
    p0, p1 = torch.tensor([[0.5, -1.0, 50.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    d = predicted_offset_mm(p0, p1, torch.tensor([100.0, 200.0, 300.0]))
    torch.testing.assert_close(d, torch.tensor([[100 * math.tanh(0.5), 200 * math.tanh(-2.0), 300.0]]))


def test_equations_1_and_2_agree_in_sign():
    """Patch 0 lies above patch 1, so a position that grows upwards gives a positive offset, as Eq. 4 needs."""
    d = offset_mm(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([0.0, 0.0, 4.0]), torch.tensor([1.0, 1.0, 3.0]))
    predicted = predicted_offset_mm(torch.tensor([0, 0, 9.0]), torch.tensor([0, 0, 4.0]), torch.tensor([1.0, 1.0, 50]))
    assert d[2] == 15 and predicted[2] > 0


def two_pairs():
    """Positions whose predicted offsets are (0, 0, 0) and (-7, 0, 0) mm for r = 7 mm; targets (0, 3, 0), (0, 0, 0)."""
    position = torch.tensor([[1.0, 2, 3], [0, 0, 0], [1, 2, 3], [100, 0, 0]])
    target = torch.tensor([[0.0, 3, 0], [0, 0, 0]])
    return position, target


def test_equation_3_by_hand():
    position, offsets = two_pairs()
    patches = torch.zeros(4, 1, 2, 2, 2)
    reconstruction = torch.zeros(4, 1, 2, 2, 2)
    reconstruction[0] = 0.5  # patch 0 of pair 0: mean squared error 0.25
    reconstruction[3] = 1.0  # patch 1 of pair 1: mean squared error 1
    loss = RelativePositionLoss((7.0, 7.0, 7.0))
    value = loss({"position": position, "reconstruction": reconstruction}, {"offset_mm": offsets, "patches": patches})
    distance = (3**2 / 3 + 7**2 / 3) / 2
    reconstructed = (0.25 + 1) / 2  # per pair the sum over its patches, then the mean of the two pairs
    assert float(value) == pytest.approx(distance + reconstructed)


def test_weights_of_the_two_terms():
    position, offsets = two_pairs()
    output = {"position": position, "reconstruction": torch.ones(4, 1, 2, 2, 2)}
    target = {"offset_mm": offsets, "patches": torch.zeros(4, 1, 2, 2, 2)}
    only_distance = RelativePositionLoss((7.0,) * 3, reconstruction_weight=0)(output, target)
    only_reconstruction = RelativePositionLoss((7.0,) * 3, distance_weight=0, reconstruction_weight=3)(output, target)
    assert float(only_distance) == pytest.approx((9 + 49) / 6)
    assert float(only_reconstruction) == pytest.approx(3 * 2)


def three_places():
    """Two volumes of three patches: positions, places in mm on axes of their own, r = 70, 80, 90 mm."""
    generator = torch.Generator().manual_seed(0)
    positions, places_mm = (torch.randn((2, 3, 3), generator=generator) for _ in range(2))
    return positions, places_mm * torch.tensor([20.0, 30.0, 50.0])


def all_pairs(positions, places_mm, **weights):
    patches = torch.zeros(positions[..., 0].numel(), 1, 2, 2, 2)
    output = {"position": positions.flatten(0, 1), "reconstruction": patches}
    loss = AllPairsLoss((70.0, 80.0, 90.0), **weights)
    return float(loss(output, {"places_mm": places_mm, "patches": patches + 0.5}))


def test_all_pairs_are_the_explicit_pairs_in_both_orders():
    positions, places_mm = three_places()
    reach, total = (70.0, 80.0, 90.0), 0.0
    for volume in range(2):
        for i, j in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]:
            for axis in range(3):
                difference = float(positions[volume, i, axis] - positions[volume, j, axis])
                true_mm = float(places_mm[volume, i, axis] - places_mm[volume, j, axis])
                total += (reach[axis] * math.tanh(difference) - true_mm) ** 2
    assert all_pairs(positions, places_mm) == pytest.approx(total / (2 * 6 * 3) + 2 * 0.25, rel=1e-5)


def test_two_patches_are_the_pair_of_the_paper_in_both_orders():
    positions, places_mm = three_places()
    patches = torch.zeros(4, 1, 2, 2, 2)
    output = {"position": positions[:, :2].transpose(0, 1).flatten(0, 1), "reconstruction": patches}
    target = {"offset_mm": places_mm[:, 0] - places_mm[:, 1], "patches": patches + 0.5}
    pair = RelativePositionLoss((70.0, 80.0, 90.0))(output, target)
    assert all_pairs(positions[:, :2], places_mm[:, :2]) == pytest.approx(float(pair), rel=1e-5)


def test_what_all_positions_of_a_volume_share_does_not_matter():
    positions, places_mm = three_places()
    moved = positions + torch.tensor([[[1.0, 2, 3]], [[-4.0, 0, 1]]])
    assert all_pairs(moved, places_mm + 7.0) == pytest.approx(all_pairs(positions, places_mm), rel=1e-4)


def test_a_single_patch_has_no_pair():
    assert all_pairs(torch.ones(2, 1, 3), torch.ones(2, 1, 3)) == pytest.approx(2 * 0.25)
