"""Bounding boxes: work on the part of a volume that matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

Box = tuple[slice, slice, slice]
SLAB_VOXELS = 2**24  # so that what is computed of a slab stays small beside the volume


def boxes_of(label: np.ndarray) -> dict[int, Box]:
    """Label value -> bounding box of its voxels, of an (X, Y, Z) map of whole numbers; those above 0 count."""
    as_stored = label if label.flags.c_contiguous else label.T  # read along its rows, that is ten times as fast
    boxes = dict(enumerate(ndimage.find_objects(as_stored), start=1))
    return {value: box if as_stored is label else box[::-1] for value, box in boxes.items() if box is not None}


def box_of(label: np.ndarray, margins: Sequence[int] | np.ndarray | int = 0) -> Box | None:
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


def overlap_of(first: Sequence[slice] | None, second: Sequence[slice]) -> Box | None:
    """What two boxes share; None if nothing, or if there is no first one."""
    if first is None:
        return None
    sides = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True)]
    x, y, z = sides
    return None if any(side.start >= side.stop for side in sides) else (x, y, z)


def slabs_of(box: Sequence[slice] | None, most_voxels: int = SLAB_VOXELS) -> Iterator[Box]:
    """A box in parts along the first axis, each of at most so many voxels or of one plane; none without a box."""
    if box is None:
        return
    x, y, z = box
    planes = max(1, most_voxels // max(1, (y.stop - y.start) * (z.stop - z.start)))
    for start in range(x.start, x.stop, planes):
        yield slice(start, min(start + planes, x.stop)), y, z
