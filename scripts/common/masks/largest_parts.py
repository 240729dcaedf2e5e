"""The largest connected parts of each class: one rule for the support mask, pseudo labels and inference."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
from scipy import ndimage

from scripts.common.boxes import boxes_of

LEAST_PART_SHARE = 0.25  # of the largest part's volume: smaller ones are no further part of an organ
BY_FACES, BY_DIAGONALS = ndimage.generate_binary_structure(3, 1), ndimage.generate_binary_structure(3, 3)


def count_of_parts(label: np.ndarray, classes: Mapping[str, int]) -> dict[str, int]:
    """Class -> how many parts it is in, of those in more than one, such as both lungs; small parts do not count.

    Args:
        label: (X, Y, Z) channels, 1 to K the classes; voxels of a part share faces.
        classes: name -> label value, in the order of the channels.
    """
    names = dict(enumerate(classes, start=1))
    counts = {}
    for channel, box in boxes_of(label).items():
        _, sizes = _parts(label[box] == channel, BY_FACES)
        if channel in names and (count := int((sizes >= LEAST_PART_SHARE * sizes.max()).sum())) > 1:
            counts[names[channel]] = count
    return counts


def keep_largest_parts(label: np.ndarray, counts: Mapping[int, int] | None = None, diagonals: bool = False) -> None:
    """Put background in place of all but each class's largest part, of a map of channels; of equals the first stays.

    Args:
        label: (X, Y, Z) channels, which change.
        counts: channel -> up to how many parts stay, of those in more than one; small parts go.
        diagonals: whether voxels that share an edge or a corner are connected, too, not faces alone.
    """
    for channel, box in boxes_of(label).items():
        mask, count = label[box] == channel, 1 if counts is None else counts.get(channel, 1)
        label[box][mask & ~_largest(mask, count, BY_DIAGONALS if diagonals else BY_FACES)] = 0


def _largest(mask: np.ndarray, count: int, neighbours: np.ndarray) -> np.ndarray:
    parts, sizes = _parts(mask, neighbours)
    if len(sizes) < 2:
        return mask
    order = np.argsort(-sizes, kind="stable")[:count]
    kept = np.zeros(len(sizes) + 1, dtype=bool)
    kept[1 + order] = sizes[order] >= LEAST_PART_SHARE * sizes[order[0]]
    return np.asarray(kept[parts])


def _parts(mask: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) numbers of the parts from 1 on, and their sizes in voxels."""
    parts, count = ndimage.label(mask, neighbours)
    slabs = (np.bincount(slab.ravel(), minlength=count + 1) for slab in parts)  # whole, it would be copied to int64
    return parts, reduce(np.add, slabs)[1:]
