import math

import pytest
import torch
from monai.utils import CommonKeys

from scripts.point_propagation.relative_position import (
    OffsetErrorMm,
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


def test_offset_error_by_hand():
    position, offsets = two_pairs()
    output = {CommonKeys.PRED: {"position": position}, CommonKeys.LABEL: {"offset_mm": offsets}}
    assert OffsetErrorMm((7.0, 7.0, 7.0))(output) == pytest.approx((3 + 7) / 2)
