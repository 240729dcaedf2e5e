"""Connected parts of a mask, whose voxels share faces, and the distance to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
from scipy import ndimage

from scripts.common.boxes import boxes_of

LEAST_PART_SHARE = 0.25  # of the largest part's volume: smaller ones are no further part of an organ


def parts_with(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: the parts of a mask, (X, Y, Z) bool, that hold a seed of it."""
    parts, count = ndimage.label(mask)
    holds = np.zeros(count + 1, dtype=bool)
    holds[parts[seeds & mask]] = True
    holds[0] = False
    return np.asarray(holds[parts])


def count_of_parts(label: np.ndarray, classes: Mapping[str, int]) -> dict[str, int]:
    """Class -> how many parts it is in, of those in more than one, such as both lungs; small parts do not count.

    Args:
        label: (X, Y, Z) channels, 1 to K the classes.
        classes: name -> label value, in the order of the channels.
    """
    names = dict(enumerate(classes, start=1))
    counts = {}
    for channel, box in boxes_of(label).items():
        _, sizes = _parts(label[box] == channel)
        if channel in names and (count := int((sizes >= LEAST_PART_SHARE * sizes.max()).sum())) > 1:
            counts[names[channel]] = count
    return counts


def largest_parts(label: np.ndarray, counts: Mapping[int, int] | None = None) -> np.ndarray:
    """Each class's largest part, of a map of channels; of equals the first.

    Args:
        label: (X, Y, Z) channels.
        counts: channel -> up to how many parts stay, of those in more than one; small parts go.
    """
    result = np.zeros(label.shape, dtype=np.uint8)
    for channel, box in boxes_of(label).items():
        result[box][_largest(label[box] == channel, 1 if counts is None else counts.get(channel, 1))] = channel
    return result


def _largest(mask: np.ndarray, count: int) -> np.ndarray:
    parts, sizes = _parts(mask)
    if len(sizes) < 2:
        return mask
    order = np.argsort(-sizes, kind="stable")[:count]
    kept = np.zeros(len(sizes) + 1, dtype=bool)
    kept[1 + order] = sizes[order] >= LEAST_PART_SHARE * sizes[order[0]]
    return np.asarray(kept[parts])


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) numbers of the parts from 1 on, and their sizes in voxels."""
    parts, count = ndimage.label(mask)
    slabs = (np.bincount(slab.ravel(), minlength=count + 1) for slab in parts)  # whole, it would be copied to int64
    return parts, reduce(np.add, slabs)[1:]


def distance_mm(mask: np.ndarray, spacing_mm: Sequence[float] | np.ndarray) -> np.ndarray:
    """(X, Y, Z) distance to a mask, (X, Y, Z) bool; infinite where it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm))
