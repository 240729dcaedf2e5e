"""DICOM segmentations: the voxels of each segment on a volume's grid, frame by frame where the file says it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.data.reading.volume import LPS_TO_RAS

MOST_ASIDE_VOXELS = 0.05  # of a frame in its plane
MOST_BETWEEN_SLICES = 0.25  # of a frame from its slice: series may be uneven by a tenth of a millimetre
LEAST_FRACTION = 0.5  # of a fractional segmentation's maximum


class OtherGridError(ValueError):
    """What is drawn does not lie on the volume's voxels; says what was found."""


@dataclass(frozen=True)
class Drawn:
    """A segment or region on a grid: its name, its (N, 3) voxels, and whether a part beside the volume was cut off."""

    name: str
    voxels: np.ndarray
    is_cut: bool = False


def segments_on_grid(dataset: Any, shape: Sequence[int], affine: np.ndarray) -> Iterator[Drawn]:
    """Each segment, in the file's order.

    Args:
        dataset: of pydicom, a segmentation of any kind (binary, fractional, label map).
        shape: of the grid.
        affine: of the grid, voxels to mm, RAS.

    Raises:
        OtherGridError: a frame lies between the grid's voxels, or something drawn outside of it.
    """
    frames, kind = _frames(dataset), str(dataset.SegmentationType)
    numbers = [_segment_number(dataset, frame) for frame in range(len(frames))] if kind != "LABELMAP" else []
    limit = LEAST_FRACTION * float(dataset.get("MaximumFractionalValue", 1)) if kind == "FRACTIONAL" else 0.0
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        if number == 0:  # the background of a label map
            continue
        if kind == "LABELMAP":
            masks = {frame: pixels == number for frame, pixels in enumerate(frames)}
        else:
            masks = {frame: frames[frame] > limit for frame, of in enumerate(numbers) if of == number}
        voxels = [
            _placed(mask, _frame_affine(dataset, frame), shape, affine) for frame, mask in masks.items() if mask.any()
        ]
        empty = np.zeros((0, 3), np.intp)
        yield Drawn(str(segment.get("SegmentLabel", "") or f"segment {number}"), np.concatenate([empty, *voxels]))


def _frames(dataset: Any) -> np.ndarray:
    """(frames, rows, columns)."""
    pixels = np.asarray(dataset.pixel_array)
    return pixels if pixels.ndim == 3 else pixels[None]


def _placed(mask: np.ndarray, frame: np.ndarray, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(N, 3) voxels of the grid that a frame's pixels are; see `segments_on_grid`."""
    to_grid = np.linalg.inv(affine) @ frame
    steps, origin = to_grid[:3, :2], to_grid[:3, 2]
    exact = np.rint(steps)
    if not (np.all(np.abs(exact).sum(axis=0) == 1) and np.abs(exact).sum(axis=1).max() == 1):
        raise OtherGridError("frames of another orientation or pixel spacing")
    extent = np.array(mask.shape[::-1]) - 1
    if (np.abs(steps - exact) * extent).max() > MOST_ASIDE_VOXELS:
        raise OtherGridError("frames of another orientation or pixel spacing")
    aside, across = np.abs(origin - np.rint(origin)), np.abs(exact).sum(axis=1) == 0
    if aside[~across].max() > MOST_ASIDE_VOXELS or aside[across].max() > MOST_BETWEEN_SLICES:
        raise OtherGridError(f"frames {aside.max():.2g} voxels beside those of the volume")
    drawn = np.argwhere(mask)[:, ::-1]  # column, row
    voxels = (np.rint(origin) + drawn @ exact.T).astype(np.intp)
    if np.any(voxels < 0) or np.any(voxels >= shape):
        raise OtherGridError("something is drawn outside the volume")
    return voxels


def _frame_affine(dataset: Any, frame: int) -> np.ndarray:
    """(4, 3) from column, row, 1 to mm, RAS."""
    orientation = _macro(dataset, frame, "PlaneOrientationSequence").ImageOrientationPatient
    row_mm, column_mm = (float(step) for step in _macro(dataset, frame, "PixelMeasuresSequence").PixelSpacing)
    affine = np.zeros((4, 3))
    affine[:3, 0] = np.array(orientation[:3], float) * column_mm
    affine[:3, 1] = np.array(orientation[3:], float) * row_mm
    affine[:3, 2] = np.array(_macro(dataset, frame, "PlanePositionSequence").ImagePositionPatient, float)
    affine[3, 2] = 1
    return LPS_TO_RAS @ affine


def _segment_number(dataset: Any, frame: int) -> int:
    return int(_macro(dataset, frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _macro(dataset: Any, frame: int, name: str) -> Any:
    """A functional group of one frame, or of all of them.

    Raises:
        ValueError: the file tells none.
    """
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    for group in (dataset.PerFrameFunctionalGroupsSequence[frame], shared[0]):
        if group.get(name):
            return getattr(group, name)[0]
    raise ValueError(f"no {name}")
