"""Bounding boxes: work on the part of a volume that matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def box_of(label: np.ndarray, margins: Sequence[int] | np.ndarray | int = 0) -> tuple[slice, slice, slice] | None:
    """Bounding box of everything labelled, grown within the volume; None if nothing is.

    Args:
        label: (X, Y, Z) mask, or label values, of which those above 0 count.
        margins: voxels that it grows by at both ends of each axis, or of all.
    """
    boxes = ndimage.find_objects((label > 0).astype(np.uint8))
    if not boxes:
        return None
    sides = zip(boxes[0], np.broadcast_to(margins, 3).tolist(), label.shape, strict=True)
    x, y, z = (slice(max(0, side.start - margin), min(size, side.stop + margin)) for side, margin, size in sides)
    return x, y, z


def longest_side_mm(box: Sequence[slice], spacing_mm: Sequence[float]) -> float:
    """Of a box in voxels of this size."""
    return max((side.stop - side.start) * step for side, step in zip(box, spacing_mm, strict=True))
