"""Offsets between patches in millimetres (paper, Eqs. 1, 2 and 4) and the loss that learns them (Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def offset_mm(centre_0: Tensor, centre_1: Tensor, spacing_mm: Tensor) -> Tensor:
    """Offset d = (c0 - c1) * spacing, pointing from patch 1 to patch 0; centres in voxels, result in mm, (..., 3).

    Eq. 1 of the paper is printed with the opposite sign; Eqs. 2 and 4 need this one.
    """
    return (centre_0 - centre_1) * spacing_mm


def predicted_offset_mm(position_0: Tensor, position_1: Tensor, max_offset_mm: Tensor) -> Tensor:
    """Predicted offset d' = r * tanh(p0 - p1) in mm (Eq. 2); `max_offset_mm` is r, per axis."""
    return max_offset_mm * torch.tanh(position_0 - position_1)


class RelativePositionLoss(nn.Module):
    """L = L_dis + L_rec (Eq. 3): mean squared offset error in mm^2 plus mean squared reconstruction error.

    Args:
        max_offset_mm: largest offset that the network can say, along X, Y, Z, in mm (r in Eq. 2).
        distance_weight: weight of the offset's error in the loss, 1 in the paper.
        reconstruction_weight: weight of the reconstruction's error in the loss, 1 in the paper.
    """

    max_offset_mm: Tensor

    def __init__(
        self, max_offset_mm: Sequence[float], distance_weight: float = 1.0, reconstruction_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("max_offset_mm", torch.tensor(max_offset_mm, dtype=torch.float32))
        self.distance_weight = distance_weight
        self.reconstruction_weight = reconstruction_weight

    def forward(self, output: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """Loss of one batch of B pairs.

        Args:
            output: PRNet's output for 2B patches, patch 0 of every pair first.
            target: {"offset_mm": (B, 3), "patches": (2B, C, X, Y, Z) unmasked}.
        """
        position_0, position_1 = output["position"].chunk(2)
        predicted = predicted_offset_mm(position_0, position_1, self.max_offset_mm)
        distance = nn.functional.mse_loss(predicted, target["offset_mm"])
        # Eq. 3 sums the mean squared errors of the two patches.
        reconstruction = 2 * nn.functional.mse_loss(output["reconstruction"], target["patches"])
        return self.distance_weight * distance + self.reconstruction_weight * reconstruction


class AllPairsLoss(RelativePositionLoss):
    """The same loss over all ordered pairs of the N patches of a volume: N (N - 1) pairs for N passes.

    A patch and itself are no pair: their offset is 0 whatever the network says.
    """

    def forward(self, output: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """Loss of B volumes.

        Args:
            output: PRNet's output for B * N patches, those of a volume one after the other.
            target: {"places_mm": (B, N, 3) of the patches' centres in their volume, "patches": (B * N, C, X, Y, Z)}.
        """
        places_mm = target["places_mm"]
        positions = output["position"].reshape(places_mm.shape)
        predicted = predicted_offset_mm(positions[:, :, None], positions[:, None], self.max_offset_mm)
        errors_mm = predicted - (places_mm[:, :, None] - places_mm[:, None])
        pairs = errors_mm.numel() - 3 * errors_mm.shape[0] * errors_mm.shape[1]
        distance = errors_mm.square().sum() / max(pairs, 1)
        reconstruction = 2 * nn.functional.mse_loss(output["reconstruction"], target["patches"])
        return self.distance_weight * distance + self.reconstruction_weight * reconstruction
