"""RT structure sets: the voxels of each region on a volume's grid, its contours filled slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from scripts.common.affines import to_voxels
from scripts.data.reading.dicom_segmentation import MOST_BETWEEN_SLICES, Drawn, OtherGridError
from scripts.data.reading.polygons import drawn, filled

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
FLATTEST_VOXELS = 0.1  # a contour in a slice is this flat
MOST_BEYOND_VOXELS = 1.0  # a contour that runs along the volume's edge


def regions_on_grid(dataset: Any, shape: Sequence[int], affine: np.ndarray) -> Iterator[Drawn]:
    """Each region, in the file's order.

    Closed contours of a slice are filled by the even-odd rule, so that keyholes and contours within contours are holes;
    open ones and points are drawn.

    Args:
        dataset: of pydicom, a structure set.
        shape: of the grid.
        affine: of the grid, voxels to mm, RAS.

    Raises:
        OtherGridError: a contour lies across slices or between them, above or below the volume, or all lie beside it.
    """
    contours = {
        int(item.ReferencedROINumber): _contours(item, affine) for item in dataset.get("ROIContourSequence", ())
    }
    axis = _slice_axis([points for found in contours.values() for _, points in found])
    plane = [other for other in range(3) if other != axis]
    boxes = {
        number: [(points[:, plane].min(axis=0), points[:, plane].max(axis=0)) for _, points in found]
        for number, found in contours.items()
    }
    last = np.array(shape)[plane] - 1
    beside = [bool(np.any(high < 0) or np.any(low > last)) for found in boxes.values() for low, high in found]
    if beside and all(beside):
        raise OtherGridError("contours beside the volume")
    for region in dataset.StructureSetROISequence:
        number = int(region.ROINumber)
        is_cut = any(min(low.min(), (last - high).min()) < -MOST_BEYOND_VOXELS for low, high in boxes.get(number, ()))
        name = str(region.get("ROIName", "") or f"region {number}")
        yield Drawn(name, _voxels(contours.get(number, []), axis, shape), is_cut)


def _contours(item: Any, affine: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Kind and (N, 3) fractional voxels of a region's contours."""
    found = []
    for contour in item.get("ContourSequence", ()):
        points_mm = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3) * (-1, -1, 1)  # to RAS
        if len(points_mm):
            found.append((str(contour.ContourGeometricType), to_voxels(points_mm, affine)))
    return found


def _slice_axis(contours: Sequence[np.ndarray]) -> int:
    """Along which axis of the grid the slices follow each other: the one in which all contours are flat."""
    if not contours:
        return 2
    thickness = np.max([np.ptp(points, axis=0) for points in contours], axis=0)
    axis = 2 if thickness[2] <= FLATTEST_VOXELS else int(np.argmin(thickness))
    if thickness[axis] > FLATTEST_VOXELS:
        raise OtherGridError("contours that lie in none of the volume's slices")
    return axis


def _voxels(contours: Sequence[tuple[str, np.ndarray]], axis: int, shape: Sequence[int]) -> np.ndarray:
    plane = [other for other in range(3) if other != axis]
    size = (int(shape[plane[0]]), int(shape[plane[1]]))
    slices: dict[int, list[tuple[str, np.ndarray]]] = {}
    for kind, points in contours:
        slices.setdefault(_slice_of(points[:, axis], shape[axis]), []).append((kind, points[:, plane]))
    voxels = [np.zeros((0, 3), np.intp)]
    for index, members in slices.items():
        mask = filled([points for kind, points in members if kind in CLOSED], size)
        for kind, points in members:
            if kind not in CLOSED:
                mask |= drawn(points, size)
        voxels.append(np.insert(np.argwhere(mask), axis, index, axis=1))
    return np.concatenate(voxels)


def _slice_of(heights: np.ndarray, count: int) -> int:
    """The slice that a contour lies in."""
    height = float(np.mean(heights))
    index = round(height)
    if abs(height - index) > MOST_BETWEEN_SLICES:
        raise OtherGridError("contours between the volume's slices")
    if not 0 <= index < count:
        raise OtherGridError("contours above or below the volume")
    return index
