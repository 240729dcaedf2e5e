"""The body's parts among all that is tissue by its values: no table, but both legs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.common.masks.filled_slices import fill_slices

TABLE_THICKNESS_MM = 8.0  # thinner sheets touching the skin (table, blanket) are cut off
LEAST_PART = 0.1  # of the largest part's volume: an arm or a leg has as much
LEAST_PART_MM = 24.0  # so thick somewhere: a table is thinner, a limb is not
TOLD_PART = 0.02  # of the largest part's volume: smaller ones are left out in silence


@dataclass(frozen=True)
class FoundBody:
    """Where a body is.

    Attributes:
        mask: (X, Y, Z) bool.
        remarks: what the user should know about it.
    """

    mask: np.ndarray
    remarks: tuple[str, ...] = ()


def body_parts(tissue: np.ndarray, spacing_mm: Sequence[float], closed: bool) -> FoundBody:
    """The largest connected part of (X, Y, Z) bool and all of some size, without thin sheets, holes filled by slice.

    Args:
        tissue: empty where there is none.
        spacing_mm: voxel spacing along X, Y, Z.
        closed: whether skin closes around what of the body is not in `tissue`; that is filled first.
    """
    if closed:
        tissue = fill_slices(tissue)
    parts, count = ndimage.label(_without_table(tissue, spacing_mm))
    if count == 0:
        return FoundBody(tissue)
    sizes = np.bincount(parts.ravel())[1:]
    largest = int(np.argmax(sizes))
    body, beside = fill_slices(parts == 1 + largest), 0
    for part in np.flatnonzero(sizes >= TOLD_PART * sizes[largest]):
        mask = parts == 1 + part
        if part == largest or _thickness_mm(mask, spacing_mm) < LEAST_PART_MM:
            continue
        if sizes[part] >= LEAST_PART * sizes[largest]:
            body |= fill_slices(mask)  # part by part: what lies between them is air
        else:
            beside += int(sizes[part])
    if beside == 0:
        return FoundBody(body)
    ml = beside * float(np.prod(spacing_mm)) / 1000
    sentence = f"{ml:.0f} ml of tissue apart from the body are taken for no part of it, and nothing is labelled there"
    return FoundBody(body, (f"{sentence}; crop the volume to what you want to be labelled, if it is there",))


def without_thin(mask: np.ndarray, spacing_mm: Sequence[float], thickness_mm: float) -> np.ndarray:
    """(X, Y, Z) bool without what is thinner in a slice; beyond the field's edge all goes on as it ends there."""
    thick = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        core = _depth_mm(mask[:, :, k], spacing_mm) > thickness_mm / 2
        if core.any():
            thick[:, :, k] = _depth_mm(~core, spacing_mm) <= thickness_mm / 2
    return thick


def _without_table(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove sheets thinner than the table, slice by slice."""
    radius_x, radius_y = (max(1, round(TABLE_THICKNESS_MM / 2 / step)) for step in spacing_mm[:2])
    x, y = np.ogrid[-radius_x : radius_x + 1, -radius_y : radius_y + 1]
    disc = (x / radius_x) ** 2 + (y / radius_y) ** 2 <= 1
    return ndimage.binary_opening(mask, structure=disc[:, :, None])


def _thickness_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Of the widest disc that fits into a slice."""
    return 2 * max(float(_depth_mm(mask[:, :, k], spacing_mm).max()) for k in range(mask.shape[2]))


def _depth_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """How far each voxel of (X, Y) bool is from the next that is False."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(mask, sampling=spacing_mm[:2])
