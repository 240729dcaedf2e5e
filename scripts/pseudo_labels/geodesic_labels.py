"""Every voxel goes to the class whose seeds are geodesically nearest (GeoS step of the paper)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import KeepLargestConnectedComponent

from scripts.common.boxes import box_of
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.settings import GeodesicSettings

RELATIVE_TOLERANCE = 0.01  # of the truncation: further sweeps move hardly a label


@dataclass(frozen=True)
class PseudoLabel:
    """A label map with the distances behind it.

    Args:
        label: (X, Y, Z) uint8, 0 background, 1..K the classes.
        distances: (K + 1, X, Y, Z) float32 up to the truncation, background first.
    """

    label: np.ndarray
    distances: np.ndarray


def geodesic_pseudo_label(
    image: np.ndarray | torch.Tensor,
    seeds: np.ndarray | torch.Tensor,
    spacing_mm: Sequence[float],
    settings: GeodesicSettings,
    device: torch.device | str | None = None,
) -> PseudoLabel:
    """Label every voxel by the nearest seeds (GeoS step of the paper).

    The distance to each class is cut at `truncation` T; the affinity is 1 - distance / T; the class of the highest
    affinity wins. Background wins ties with it and where nothing is near; of classes that tie, the first wins. A class
    without a seed stays absent.

    Args:
        image: (X, Y, Z) in [0, 1], or with further channels, (C, X, Y, Z).
        seeds: (K + 1, X, Y, Z) bool, background first.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `GeodesicSettings`; its `spacing_mm` and `refine` are not looked at here.
        device: where the distances are computed.

    Raises:
        BundleError: as `geodesic_distance`.
    """
    box = open_box(seeds)
    inside = geodesic_distance(
        image[(..., *box)],
        seeds[(slice(None), *box)],
        spacing_mm,
        lam=settings.lam,
        max_iterations=settings.max_iterations,
        truncation=settings.truncation,
        tolerance=RELATIVE_TOLERANCE * settings.truncation,
        backend=settings.backend,
        device=device,
    )
    distances = np.full(tuple(seeds.shape), settings.truncation, dtype=np.float32)
    distances[0] = 0.0
    distances[(slice(None), *box)] = inside.clamp_(max=settings.truncation).cpu().numpy()
    label, *_ = nearest_class(distances)
    return PseudoLabel(largest_parts(label) if settings.largest_component else label, distances)


def open_box(seeds: np.ndarray | torch.Tensor) -> tuple[slice, ...]:
    """Box around every voxel that is no background seed, with a rim of one.

    Beyond it there are background seeds only. A way out of the box and back passes one, and from there on background is
    at least as near as the class: labels need no look beyond.
    """
    everything = tuple(slice(0, size) for size in seeds.shape[1:])
    return box_of(~np.asarray(seeds[0], dtype=bool), margins=(1, 1, 1)) or everything


def nearest_class(distances: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (X, Y, Z) maps, at each voxel: uint8 index of the smallest (first of equals), its value, the next one's."""
    label, nearest, second = None, None, None
    for index, distance in enumerate(distances):
        if label is None:
            label, nearest = np.zeros(distance.shape, dtype=np.uint8), distance.copy()
            second = np.full_like(nearest, np.inf)
            continue
        np.minimum(second, np.maximum(nearest, distance), out=second)
        closer = distance < nearest
        label[closer] = index
        nearest[closer] = distance[closer]
    return label, nearest, second


def largest_parts(label: np.ndarray) -> np.ndarray:
    """Each class's largest part whose voxels share faces, on an index map."""
    keep = KeepLargestConnectedComponent(is_onehot=False, independent=True, connectivity=1)
    return np.asarray(keep(label[None])[0], dtype=np.uint8)
