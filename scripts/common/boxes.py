"""Bounding boxes: work on the part of a volume that matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def box_of(label: np.ndarray, margins: Sequence[int]) -> tuple[slice, ...] | None:
    """Bounding box of everything labelled, grown by the margins within the volume; None if nothing is."""
    boxes = ndimage.find_objects((label > 0).astype(np.uint8))
    if not boxes:
        return None
    sides = zip(boxes[0], margins, label.shape, strict=True)
    return tuple(slice(max(0, side.start - margin), min(size, side.stop + margin)) for side, margin, size in sides)
