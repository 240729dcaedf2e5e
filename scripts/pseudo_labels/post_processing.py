"""What is taken from a class after it grew, and smoother borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.common.boxes import box_of
from scripts.pseudo_labels.border_smoothing import smoothed_shares
from scripts.pseudo_labels.geodesic_labels import nearest_class
from scripts.pseudo_labels.growth_limits import within_growth_limits
from scripts.pseudo_labels.opening_by_reconstruction import opened_by_reconstruction
from scripts.pseudo_labels.settings import GeodesicSettings

BORDER_DEPTH_SHARE = 0.25  # a small ball loses about a sixth of its radius to it at most


def limit_growth(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> dict[int, float]:
    """Give what lies too far from a class's seeds to the background, in place; arguments as for `open_masks`.

    Returns channel -> how sure the border is, see `within_growth_limits`, of every class that has seeds.
    """
    label, nearest, second = nearest_class(distances)
    border_confidence = {}
    for channel in range(1, len(distances)):
        mask, sown = label == channel, seeds[channel]
        if not sown.any():
            continue
        box = box_of(mask | sown, margins=(0, 0, 0))
        ratio = nearest[box] / np.maximum(second[box], np.finfo(np.float32).tiny)
        kept, sure = within_growth_limits(mask[box], sown[box], ratio, spacing_mm, settings.reach)
        _to_background(distances[(slice(None), *box)], channel, mask[box] & ~kept, settings)
        border_confidence[channel] = round(sure, 3)
    return border_confidence


def open_masks(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> list[float]:
    """Give what leaked out of a class to the background, in place: (K + 1, X, Y, Z) distances, background first.

    Returns the share of each of the K classes that is lost.
    """
    label, *_ = nearest_class(distances)
    shares = [0.0] * (len(distances) - 1)
    for channel in range(1, len(distances)):
        if (box := box_of(label == channel, margins=(1, 1, 1))) is None:
            continue
        mask = label[box] == channel
        kept = opened_by_reconstruction(
            mask, seeds[channel][box], spacing_mm, settings.opening_radius_mm, settings.opening_share
        )
        leaked = mask & ~kept
        _to_background(distances[(slice(None), *box)], channel, leaked, settings)
        shares[channel - 1] = round(float(leaked.sum() / mask.sum()), 3)
    return shares


def smooth_borders(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> np.ndarray:
    """Distances whose nearest class has smooth borders; arguments as for `open_masks`."""
    label, *_ = nearest_class(distances)
    width_mm = settings.border_smoothing_voxels * float(np.median(spacing_mm))
    shares = smoothed_shares(label, seeds, spacing_mm, width_mm, BORDER_DEPTH_SHARE)
    np.subtract(1, shares, out=shares)
    shares *= settings.truncation
    return shares


def _to_background(distances: np.ndarray, channel: int, lost: np.ndarray, settings: GeodesicSettings) -> None:
    """Give the voxels `lost` of a class to the background, in place."""
    distances[channel][lost] = settings.truncation
    distances[0][lost] = 0.0
