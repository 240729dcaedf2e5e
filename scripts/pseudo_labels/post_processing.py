"""What is taken from a class after it grew, and smoother borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scripts.common.affines import spacing_of, voxel_ml
from scripts.common.boxes import Box, box_of
from scripts.common.sharing.threads import in_threads
from scripts.pseudo_labels.border_smoothing import smoothed_shares
from scripts.pseudo_labels.geodesic_labels import NearestClass, nearest_class
from scripts.pseudo_labels.growth_limits import SupportSize, within_growth_limits, within_support_volume
from scripts.pseudo_labels.opening_by_reconstruction import opened_by_reconstruction
from scripts.pseudo_labels.settings import (
    BorderSettings,
    GeodesicSettings,
    GrowthLimits,
    OpeningSettings,
    SupportLimits,
)


@dataclass(frozen=True)
class PostProcessed:
    """Distances after post-processing, and what it did.

    Attributes:
        distances: (K + 1, X, Y, Z), background first; their nearest class is the result.
        opened_share: channel -> share of its volume that opening took, of every class where opening is on.
        border_confidence: channel -> confidence in its border, of every class with seeds where growth is limited.
    """

    distances: np.ndarray
    opened_share: dict[int, float] = field(default_factory=dict)
    border_confidence: dict[int, float] = field(default_factory=dict)


def post_processed(
    distances: np.ndarray,
    seeds: np.ndarray,
    affine: np.ndarray,
    settings: GeodesicSettings,
    sizes: Mapping[int, SupportSize] | None = None,
) -> PostProcessed:
    """Growth limits, the support's, opening by reconstruction, smoother borders, each where the settings say so.

    Args:
        distances: (K + 1, X, Y, Z) up to the truncation, background first.
        seeds: (K + 1, X, Y, Z) bool.
        affine: (4, 4) of their grid.
        settings: see `GeodesicSettings`.
        sizes: channel -> what the support says of it; None is the support itself.
    """
    growth, opening, border = settings.growth, settings.opening, settings.border
    limits = None if sizes is None else settings.support_limits
    if growth is None and limits is None and not opening.opening_radius_mm and not border.border_smoothing_voxels:
        return PostProcessed(distances)
    spacing_mm = spacing_of(affine)
    grown = nearest_class(distances)
    label = grown.label
    border_confidence: dict[int, float] = {}
    if growth is not None:
        label, border_confidence = limit_growth(grown, seeds, spacing_mm, growth, sizes)
    if limits is not None and sizes is not None:
        label = limit_volume(grown, label, affine, limits, sizes)
    opened_share: dict[int, float] = {}
    if opening.opening_radius_mm:
        label, opened_share = open_masks(label, seeds, spacing_mm, opening)
    if border.border_smoothing_voxels:
        processed = smooth_borders(label, seeds, spacing_mm, border, settings.truncation)
    else:
        processed = given_to_background(distances, grown.label, label, settings.truncation)
    return PostProcessed(processed, opened_share, border_confidence)


def limit_growth(
    grown: NearestClass,
    seeds: np.ndarray,
    spacing_mm: Sequence[float],
    limits: GrowthLimits,
    sizes: Mapping[int, SupportSize] | None = None,
) -> tuple[np.ndarray, dict[int, float]]:
    """Channels where what lies too far from a class's seeds is background, see `within_growth_limits`.

    Args:
        grown: of the distances.
        seeds: (K + 1, X, Y, Z) bool.
        spacing_mm: voxel size along X, Y, Z.
        limits: see `GrowthLimits`.
        sizes: channel -> how far its strokes extend in the support; else, how far its seeds do.

    Returns:
        (X, Y, Z) uint8, and channel -> confidence in the border, of every class that has seeds.
    """

    def limited(channel: int) -> tuple[Box, np.ndarray, float] | None:
        mask, seed = grown.label == channel, seeds[channel]
        if not seed.any() or (box := box_of(mask | seed, margins=(0, 0, 0))) is None:
            return None
        extent_mm = sizes[channel].extent_mm if sizes is not None and channel in sizes else None
        kept, confidence = within_growth_limits(mask[box], seed[box], _ratio(grown, box), spacing_mm, limits, extent_mm)
        return box, mask[box] & ~kept, confidence

    label = grown.label.copy()
    border_confidence = {}
    channels = range(1, len(seeds))
    for channel, found in zip(channels, in_threads(limited, channels), strict=True):
        if found is not None:
            box, lost, confidence = found
            label[box][lost] = 0
            border_confidence[channel] = round(confidence, 3)
    return label, border_confidence


def limit_volume(
    grown: NearestClass,
    label: np.ndarray,
    affine: np.ndarray,
    limits: SupportLimits,
    sizes: Mapping[int, SupportSize],
) -> np.ndarray:
    """Channels where classes have about the volume that they have in the support, see `within_support_volume`.

    Args:
        grown: of the distances.
        label: (X, Y, Z) uint8 channels.
        affine: (4, 4) of its grid.
        limits: see `SupportLimits`.
        sizes: channel -> what the support says of it.
    """
    limited = label.copy()
    of_voxel_ml = voxel_ml(affine)
    for channel, size in sizes.items():
        if (box := box_of(label == channel)) is None:
            continue
        mask = label[box] == channel
        kept = within_support_volume(mask, _ratio(grown, box), size.volume_ml / of_voxel_ml, limits)
        limited[box][mask & ~kept] = 0
    return limited


def _ratio(grown: NearestClass, box: tuple[slice, ...]) -> np.ndarray:
    """Distance to the nearest class over that to the next one."""
    return grown.nearest[box] / np.maximum(grown.second[box], np.finfo(np.float32).tiny)


def open_masks(
    label: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], opening: OpeningSettings
) -> tuple[np.ndarray, dict[int, float]]:
    """Channels where what leaked out of a class is background, see `opened_by_reconstruction`.

    Args:
        label: (X, Y, Z) uint8 channels.
        seeds: (K + 1, X, Y, Z) bool.
        spacing_mm: voxel size along X, Y, Z.
        opening: see `OpeningSettings`.

    Returns:
        (X, Y, Z) uint8, and channel -> share of its volume that is lost, of every class.
    """

    def leaked(channel: int) -> tuple[Box, np.ndarray, float] | None:
        if (box := box_of(label == channel, margins=(1, 1, 1))) is None:
            return None
        mask = label[box] == channel
        kept = opened_by_reconstruction(
            mask, seeds[channel][box], spacing_mm, opening.opening_radius_mm, opening.opening_share
        )
        lost = mask & ~kept
        return box, lost, float(lost.sum() / mask.sum())

    opened = label.copy()
    shares = dict.fromkeys(range(1, len(seeds)), 0.0)
    for channel, found in zip(shares, in_threads(leaked, shares), strict=True):
        if found is not None:
            box, lost, share = found
            opened[box][lost] = 0
            shares[channel] = round(share, 3)
    return opened, shares


def smooth_borders(
    label: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], border: BorderSettings, truncation: float
) -> np.ndarray:
    """(K + 1, X, Y, Z) float32 distances up to the truncation whose nearest class has smooth borders.

    Args:
        label: (X, Y, Z) uint8 channels.
        seeds: (K + 1, X, Y, Z) bool; they keep their class.
        spacing_mm: voxel size along X, Y, Z.
        border: see `BorderSettings`.
        truncation: distance where the class's share is zero.
    """
    width_mm = border.border_smoothing_voxels * float(np.median(spacing_mm))
    shares = smoothed_shares(label, seeds, spacing_mm, width_mm, border.border_depth_share)
    np.subtract(1, shares, out=shares)
    shares *= truncation
    return shares


def given_to_background(distances: np.ndarray, before: np.ndarray, after: np.ndarray, truncation: float) -> np.ndarray:
    """Distances whose nearest class is `after`, (X, Y, Z), which lost voxels of `before` to the background."""
    result = distances.copy()
    for channel in range(1, len(result)):
        lost = (before == channel) & (after == 0)
        result[channel][lost] = truncation
        result[0][lost] = 0.0
    return result
