"""What can be the grid of a CT volume, judged by the header, before a voxel is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from scripts.common.affines import spacing_of
from scripts.data.reading.volume import volume_error

SPACING_RANGE_MM = (0.1, 20.0)
MINIMUM_VOXELS = 8
MINIMUM_EXTENT_MM = 20.0
MAXIMUM_VOXELS = 1024**3  # a whole body of 512 x 512 in slices of 0.5 mm
READING_BYTES_PER_VOXEL = 12  # as stored, as float32, and as float32 in our order of axes
MEMORY_TABLE = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")  # a container sees its own there


def check_grid(path: Path, shape: tuple[int, ...], affine: np.ndarray, cropped: bool = False) -> None:
    """Raise BundleError unless shape and affine can be those of a CT volume that fits into memory.

    Args:
        path: the file, for the message.
        shape: voxels along each axis.
        affine: (4, 4), voxels to mm.
        cropped: it is a part of a volume, which may be small.
    """
    size = " x ".join(map(str, shape))
    if len(shape) != 3:
        raise volume_error(
            f"the volume is {len(shape)}-D", path, "a 3-D volume: save one time point in a file of its own", size
        )
    if min(shape) < (1 if cropped else MINIMUM_VOXELS):
        raise volume_error("the volume is too small", path, f"at least {MINIMUM_VOXELS} voxels along each axis", size)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise volume_error("the affine is singular", path, "an invertible affine", np.round(affine[:3], 4).tolist())
    spacing_mm = spacing_of(affine)
    spacing = " x ".join(f"{step:.4g}" for step in spacing_mm) + " mm"
    if not is_plausible(spacing_mm):
        expected = f"{SPACING_RANGE_MM[0]:g} to {SPACING_RANGE_MM[1]:g} mm along each axis"
        raise volume_error("the voxel spacing is absurd", path, expected, spacing)
    extent_mm = [step * count for step, count in zip(spacing_mm, shape, strict=True)]
    if not cropped and min(extent_mm) < MINIMUM_EXTENT_MM:
        extent = " x ".join(f"{length:.4g}" for length in extent_mm) + " mm"
        raise volume_error(
            "the volume is too small", path, f"at least {MINIMUM_EXTENT_MM:g} mm along each axis", extent
        )
    _check_size(path, shape)


def is_plausible(spacing_mm: tuple[float, float, float]) -> bool:
    """Whether a CT can have this spacing."""
    return min(spacing_mm) >= SPACING_RANGE_MM[0] and max(spacing_mm) <= SPACING_RANGE_MM[1]


def available_memory() -> float:
    """Bytes that a process can still take of its machine and container; infinite where the system does not tell."""
    return min(1024 * _entry(MEMORY_TABLE, "MemAvailable:"), _left_in_container())


def _left_in_container() -> float:
    """Bytes up to the limit of the control group; what files occupy in memory is given back when it is needed."""
    try:
        files = (CONTROL_GROUP / "memory.max", CONTROL_GROUP / "memory.current")
        limit, used = (int(file.read_text(encoding="ascii")) for file in files)
    except (OSError, ValueError):  # "max" is no limit
        return math.inf
    of_files = _entry(CONTROL_GROUP / "memory.stat", "inactive_file")
    return max(limit - used + (of_files if math.isfinite(of_files) else 0), 0)


def _entry(table: Path, name: str) -> float:
    """A line's number; infinite where there is none."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) for line in lines if line.split()[0] == name)
    except (OSError, StopIteration, ValueError, IndexError):
        return math.inf


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    size, voxels = " x ".join(map(str, shape)), math.prod(int(count) for count in shape)
    remedy = "crop it to the body, or resample it to a coarser grid"
    if voxels > MAXIMUM_VOXELS:
        raise volume_error("the volume is too large", path, f"at most {MAXIMUM_VOXELS:.3g} voxels: {remedy}", size)
    needed, free = READING_BYTES_PER_VOXEL * voxels, available_memory()
    if needed > free:
        expected = f"{needed / 1e9:.1f} GB of free memory for {size} voxels: {remedy}"
        raise volume_error("the volume does not fit into memory", path, expected, f"{free / 1e9:.1f} GB")
