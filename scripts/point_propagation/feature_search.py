"""Where a body looks most like what is around a support point: multi-level similarity.

The features around a support point are a kernel that slides over a window of the query. Positions are measured, and a
network may measure a place wrongly in every body alike; features recognise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scripts.point_propagation.feature_maps import FeatureMaps

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class FeatureSearchSettings:
    """How far and by what points are searched.

    Attributes:
        search_levels: decoder levels whose cosines are summed; the finest one's cells are the places that are tried.
        window_mm: half the width, in mm, of the window that is searched around the place that the networks propose.
        kernel_mm: half the width, in mm, of what is compared around a point, in whole cells of each level.
        search_prior_mm: standard deviation, in mm, of a Gaussian around the place that the networks propose.
        search_temperature: temperature of the similarity, where it is set against the distance from that place.
    """

    search_levels: Sequence[str] = ("m1", "m2")
    window_mm: float = 64.0
    kernel_mm: float = 24.0
    search_prior_mm: float = 30.0
    search_temperature: float = 0.1


@dataclass(frozen=True)
class SearchedPoints:
    """N points of the support: voxels (N, 3), their body mask (X, Y, Z), and the features of that body."""

    voxels: Tensor
    body: Tensor
    maps: FeatureMaps


def search(
    support: SearchedPoints,
    maps: FeatureMaps,
    body: Tensor,
    proposed: Tensor,
    spacing: Spacing,
    settings: FeatureSearchSettings,
) -> Tensor:
    """The most similar place of the body within each point's window: (N, 3) voxels, fractional.

    A point whose window shows no body stays where it was proposed.

    Args:
        support: the points that are sought.
        maps: of the query.
        body: (X, Y, Z) mask of the query.
        proposed: (N, 3) voxels in the middle of the windows.
        spacing: mm of the voxels.
        settings: see `FeatureSearchSettings`.
    """
    spacing_mm = torch.tensor(spacing)
    finest = min(settings.search_levels, key=lambda level: maps.strides[level])
    stride = maps.strides[finest]
    half = (settings.window_mm / (spacing_mm * stride)).ceil().long()
    steps = _lattice(half)  # (L, 3) cells
    middle = maps.cells(finest, proposed.float()).round()
    scores = torch.zeros(len(proposed), len(steps))
    for level in settings.search_levels:
        kernels = kernels_around(support.maps, level, support.voxels, spacing, settings.kernel_mm)
        for point, (kernel, cell) in enumerate(zip(kernels, middle, strict=True)):
            scores[point] += _cosines(maps.levels[level], kernel, cell, half, maps.strides[level] // stride)
    away = (steps * stride * spacing_mm).norm(dim=1) / settings.search_prior_mm
    scores -= settings.search_temperature * away.square() / 2
    places = maps.origin + (middle[:, None] + steps) * stride + (stride - 1) / 2
    inside = _inside(body, places)
    best = scores.masked_fill(~inside, -torch.inf).argmax(dim=1)
    found = places[torch.arange(len(places)), best]
    return torch.where(inside.any(dim=1)[:, None], found, proposed.float())


def kernels_around(maps: FeatureMaps, level: str, voxels: Tensor, spacing: Spacing, kernel_mm: float) -> Tensor:
    """The features of a level around each of N points, 0 beyond the maps: (N, C, i, j, k)."""
    stride = maps.strides[level]
    radii = torch.tensor([max(round(kernel_mm / (step * stride)), 1) for step in spacing])
    steps = _lattice(radii)
    places = voxels[:, None] + steps * stride
    features = maps.at(level, places.reshape(-1, 3))
    return features.reshape(len(voxels), *(2 * radii + 1).tolist(), -1).movedim(-1, 1)


def _lattice(half: Tensor) -> Tensor:
    """Whole steps (L, 3) up to `half` (3,) in both directions, the last axis fastest."""
    axes = [torch.arange(-side, side + 1, dtype=torch.float32) for side in half.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def _cosines(features: Tensor, kernel: Tensor, middle: Tensor, half: Tensor, times: int) -> Tensor:
    """Mean cosine of a kernel with a level at each step around the middle: (L,).

    Args:
        features: (C, x, y, z) of the level.
        kernel: (C, i, j, k).
        middle: (3,) cell of the finest level.
        half: (3,) cells of the finest level.
        times: how many of these are as long as a cell of this level.
    """
    ends = [(middle + side * half + 0.5) / times - 0.5 for side in (-1, 1)]
    first, last = ends[0].floor().long(), ends[1].ceil().long()
    radius = torch.tensor(kernel.shape[1:]) // 2
    part = _cut(features, first - radius, last + 1 + radius)
    cosines = functional.conv3d(part[None], kernel[None]) / kernel.norm(dim=0).sum().clamp(min=1)
    if times > 1:
        axes = [
            torch.linspace(a, b, 2 * n + 1) for a, b, n in zip(*(e.tolist() for e in ends), half.tolist(), strict=True)
        ]
        size = (last - first).clamp(min=1)
        places = (torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) - first) / size * 2 - 1
        cosines = functional.grid_sample(cosines, places.flip(-1)[None], align_corners=True)
    return cosines.flatten()


def _cut(features: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Cells [first, last) of a level, 0 beyond it; float32."""
    size = torch.tensor(features.shape[1:])
    low, high = torch.minimum(first.clamp(min=0), size), torch.minimum(last.clamp(min=0), size)
    part = features[(slice(None), *(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))].float()
    full = torch.zeros(len(features), *(last - first).tolist())
    inner = (slice(a, b) for a, b in zip((low - first).tolist(), (high - first).tolist(), strict=True))
    full[(slice(None), *inner)] = part
    return full


def _inside(body: Tensor, places: Tensor) -> Tensor:
    """(N, L) bool: which places (N, L, 3) lie in the body."""
    nearest = places.round().long()
    last = torch.tensor(body.shape) - 1
    within = ((nearest >= 0) & (nearest <= last)).all(dim=-1)
    x, y, z = torch.minimum(nearest.clamp(min=0), last).unbind(dim=-1)
    return body[x, y, z] & within
