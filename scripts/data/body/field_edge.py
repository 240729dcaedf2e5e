"""Lung and airway whose wall the field's edge cuts, so that nothing encloses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from scripts.common.masks.filled_slices import fill_slices
from scripts.data.body.parts import TABLE_THICKNESS_MM, without_thin

REAL_AIR_HU = -950.0  # what is around the body lies below
FOAM_HU = -900.0  # the median of lung lies above, at -880 to -600; that of cushions and mattresses below
CLIPPED_SPAN_HU = 1.0  # above the lowest value: air lies there if it was clipped, and lung spreads over more
CLIPPED_SHARE = 0.02
LUNG_THICKNESS_MM = 24.0  # thinner layers are the skin's blurred edge, blankets, a mattress
LEAST_CONTACT = 3.0  # so many times as much of its surface lies on the body as elsewhere: a blanket lies in the air


def with_cut_lung(body: np.ndarray, hu: np.ndarray, tissue_hu: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """(X, Y, Z) body mask with the lung that reaches the field's edge along X or Y, and the wall that is left of it.

    Lung is told from air by its values. In a volume clipped above those of air nothing can tell them apart, and the
    mask stays as it is.

    Args:
        body: (X, Y, Z) bool, not empty.
        hu: (X, Y, Z) Hounsfield units.
        tissue_hu: tissue lies above.
        spacing_mm: voxel spacing along X, Y, Z.
    """
    lowest = float(hu.min())
    if lowest > REAL_AIR_HU and np.mean(hu < lowest + CLIPPED_SPAN_HU) >= CLIPPED_SHARE:
        return body
    dense = hu > REAL_AIR_HU
    beside = without_thin(fill_slices(body | dense) & ~body, spacing_mm, LUNG_THICKNESS_MM)
    found = np.zeros_like(body)
    for box, lung in _at_the_edge(beside, spacing_mm):
        air = ~body[box] & ~dense[box]
        if FOAM_HU < np.median(hu[box][lung]) <= tissue_hu and _lies_on(lung, body[box], air):
            found[box] |= lung
    return fill_slices(body | found) if found.any() else body


def with_cut_airway(body: np.ndarray, tissue: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """(X, Y, Z) body mask with what it encloses together with the thin wall that is left at the field's edge.

    Args:
        body: (X, Y, Z) bool, without thin sheets.
        tissue: (X, Y, Z) bool, with them.
        spacing_mm: voxel spacing along X, Y, Z.
    """
    whole = body | tissue
    found = body.copy()
    for box, hole in _at_the_edge(fill_slices(whole) & ~whole, spacing_mm):
        if _lies_on(hole, body[box], ~body[box]):
            found[box] |= hole
    return found


def _at_the_edge(mask: np.ndarray, spacing_mm: Sequence[float]) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Connected parts of (X, Y, Z) bool less than a table's thickness from an edge along X or Y: a box, and in it one.

    The box has a margin of a voxel.
    """
    parts, _ = ndimage.label(mask)
    reach = [max(1, round(TABLE_THICKNESS_MM / step)) for step in spacing_mm[:2]]
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        gaps = [min(side.start, size - side.stop) for side, size in zip(box, mask.shape, strict=True)]
        if any(gap < voxels for gap, voxels in zip(gaps[:2], reach, strict=True)):
            wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
            yield wide, parts[wide] == number


def _lies_on(part: np.ndarray, body: np.ndarray, elsewhere: np.ndarray) -> bool:
    """Whether most neighbours of a part belong to the body."""
    around = ndimage.binary_dilation(part) & ~part
    return bool(np.count_nonzero(around & body) >= LEAST_CONTACT * np.count_nonzero(around & elsewhere))
