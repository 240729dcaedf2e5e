"""Contrast between corresponding points of two views (InfoNCE), and the label-free score of an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.nn import functional

from scripts.embedding.cells import vectors_at
from scripts.networks.anatomy_net import STRIDES

NEAR_MM: Mapping[str, float] = {"fine": 12.0, "coarse": 40.0}


class ContrastiveLoss(nn.Module):
    """InfoNCE at both levels (van den Oord et al. 2018): a point must find itself among all points of the other views.

    Points of the same volume nearer than `near_mm` are neither right nor wrong and are left out.

    Args:
        temperature: temperature of the softmax that compares points.
        near_mm: level -> distance in mm.
    """

    def __init__(self, temperature: float = 0.1, near_mm: Mapping[str, float] = NEAR_MM) -> None:
        super().__init__()
        self.temperature = temperature
        self.near_mm = dict(near_mm)

    def forward(self, output: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Mean over the levels.

        Args:
            output: AnatomyNet's output for 2B views, view 0 of every volume first.
            target: {"voxels": (2B, N, 3), "places_mm": (B, N, 3)}.
        """
        losses = []
        for level, near_mm in self.near_mm.items():
            vectors = vectors_at(output[level], target["voxels"], STRIDES[level])
            first, second = (half.flatten(0, 1) for half in vectors.chunk(2))
            similarity = first @ second.T / self.temperature
            similarity = similarity.masked_fill(_too_near(target["places_mm"], near_mm), -torch.inf)
            truth = torch.arange(len(first), device=first.device)
            losses += [functional.cross_entropy(similarity, truth), functional.cross_entropy(similarity.T, truth)]
        return torch.stack(losses).mean()


def _too_near(places_mm: Tensor, near_mm: float) -> Tensor:
    """(B N, B N): other points of the same volume within `near_mm`."""
    count, points = places_mm.shape[:2]
    near = torch.cdist(places_mm, places_mm) < near_mm
    near &= ~torch.eye(points, dtype=torch.bool, device=near.device)
    return torch.block_diag(*near) if count > 1 else near[0]


class MatchErrorMm:
    """Median distance in mm between where a point is and where its embedding finds it among the other view's points.

    For `ignite.metrics.Average`, on the state output of a MONAI engine; both levels' cosines are added.
    """

    def __call__(self, output: dict[str, Any]) -> float:
        """`output` holds AnatomyNet's output and the target of `ContrastiveLoss`."""
        prediction, target = output[CommonKeys.PRED], output[CommonKeys.LABEL]
        cosines = []
        for level, stride in STRIDES.items():
            first, second = vectors_at(prediction[level].float(), target["voxels"], stride).chunk(2)
            cosines.append(first @ second.transpose(1, 2))
        fine, coarse = cosines
        nearest = (fine + coarse).argmax(dim=2)
        places_mm = target["places_mm"]
        matched_mm = torch.gather(places_mm, 1, nearest[..., None].expand(-1, -1, 3))
        return float((matched_mm - places_mm).norm(dim=2).median())
