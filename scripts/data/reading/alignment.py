"""Label maps on their case's own grid: turned back where that loses nothing, else refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.common.affines import apart_mm, between_grids, corners_of, spacing_of
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti
from scripts.data.case import Case
from scripts.data.reading.nifti import remark_on_forms
from scripts.data.reading.volume import Volume, is_nifti

TOLERANCE_VOXELS = 0.01  # far below what can be drawn or seen
MOVED = "Flipped or permuted axes, or a cropped extent, were brought to the grid of the volume."


def on_grid_of(label: Volume, case: Case, file: Path, what: str, whose: str = "the support's") -> Volume:
    """A label map on its case's own grid.

    Args:
        label: the label map.
        case: it belongs to.
        file: its file, for the message.
        what: "scribbles" or what else it is.
        whose: grid, for the message.

    Returns:
        `label` itself if it lies there already; else with its axes flipped, permuted, and, of a segmentation of
        3D Slicer, which covers only its segments, filled up with 0.

    Raises:
        BundleError: another grid.
    """
    affine = np.asarray(case.affine)
    if (turned := aligned(label, case.shape, affine)) is not None:
        return turned
    if label.array.shape != case.shape:
        raise BundleError(
            f"the {what} are not on {whose} grid",
            case=case.id,
            stage="cohort",
            file=file,
            expected=" x ".join(map(str, case.shape)),
            found=" x ".join(map(str, label.array.shape)),
        )
    raise BundleError(
        f"the {what}' affine is not {whose}",
        case=case.id,
        stage="cohort",
        file=file,
        expected=f"corners within {TOLERANCE_VOXELS * min(spacing_of(affine)):.2g} mm, or axes flipped or permuted",
        found=f"{apart_mm(label.affine, affine, case.shape):.4g} mm apart" + _of_two_forms(case),
    )


def aligned(label: Volume, shape: tuple[int, ...], affine: np.ndarray) -> Volume | None:
    """As `on_grid_of`, for a grid of `shape` and `affine`; None where voxels would have to be interpolated."""
    if label.array.shape == shape and _offset_voxels(label.affine, affine, shape) <= TOLERANCE_VOXELS:
        return label
    if not label.names and sorted(label.array.shape) != sorted(shape):  # only a segmentation may cover a part
        return None
    turned = onto_grid(label.array, label.affine, shape, affine)
    if turned is None:
        return None
    return Volume(turned, affine, (*label.remarks, MOVED), label.names)


def onto_grid(
    labels: np.ndarray, affine: np.ndarray, shape: Sequence[int], target_affine: np.ndarray
) -> np.ndarray | None:
    """Labels on a grid whose voxels are the same but for flipped or permuted axes and whole voxels of offset.

    Args:
        labels: (X, Y, Z).
        affine: theirs, voxels to mm.
        shape: of the target.
        target_affine: of the target.

    Returns:
        Labels of `shape`, 0 where there were none; None if the voxels are not the same, or labels lie outside.
    """
    to_target = between_grids(affine, target_affine)
    exact = np.rint(to_target)
    steps = np.abs(exact[:3, :3])
    if not (np.all(steps.sum(axis=0) == 1) and np.all(steps.sum(axis=1) == 1)):
        return None
    if np.abs(corners_of(labels.shape) @ (to_target - exact).T).max() > TOLERANCE_VOXELS:
        return None
    turned = labels.transpose(steps.argmax(axis=1))
    signs, offset = exact[:3, :3].sum(axis=1), exact[:3, 3]
    turned = turned[tuple(slice(None, None, int(sign)) for sign in signs)]
    first = np.where(signs > 0, offset, offset - np.array(turned.shape) + 1).astype(int)
    low, high = np.maximum(first, 0), np.minimum(first + turned.shape, shape)
    if np.any(low >= high):
        return None if turned.any() else np.zeros(tuple(shape), labels.dtype)
    seen = turned[tuple(map(slice, low - first, high - first))]
    if np.count_nonzero(seen) < np.count_nonzero(turned):
        return None
    target = np.zeros(tuple(shape), labels.dtype)
    target[tuple(map(slice, low, high))] = seen
    return target


def _of_two_forms(case: Case) -> str:
    """What is odd about the header of the case's volume, where that may be why."""
    remark = remark_on_forms(open_nifti(case.source)) if is_nifti(case.source) else None
    return "" if remark is None else f"; of the volume: {remark}"


def _offset_voxels(affine: np.ndarray, target_affine: np.ndarray, shape: Sequence[int]) -> float:
    """How far apart the two grids are at most, in voxels of the target."""
    return float(np.abs(corners_of(shape) @ (between_grids(affine, target_affine) - np.eye(4)).T).max())
