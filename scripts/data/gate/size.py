"""Can a volume be read at all? Judged by its header, before a byte of its voxels is."""

from __future__ import annotations

import math
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.files import open_nifti
from scripts.data.volume_io import case_id, is_nifti, peek_grid

MOST_VOXELS = 2**31  # 1024 x 1024 slices: 2048 of them
BYTES_PER_VOXEL = 12  # read, brought to RAS axes and resampled, in 32-bit floats
DEFLATE_RATIO = 1032  # zlib makes nothing smaller than this
MEMORY = Path("/proc/meminfo")


def check_size(path: Path) -> None:
    """Raise BundleError if a volume, by its header, is too large, for this machine too, or larger than its file holds.

    What has no readable header passes: reading it says what is wrong. So do folders of slices, which are what they are.
    """
    if path.is_dir():
        return
    try:
        shape, _ = peek_grid(path)
        bytes_stored = math.prod(shape) * open_nifti(path).get_data_dtype().itemsize if is_nifti(path) else 0
    except Exception:  # the readers raise anything on damaged files
        return
    voxels, size = math.prod(shape), " x ".join(map(str, shape))
    if path.name.lower().endswith(".gz") and bytes_stored > DEFLATE_RATIO * path.stat().st_size:
        expected = "a whole file; copy it again"
        raise _error("the header claims more voxels than the file can hold", path, expected, f"{size} voxels")
    if voxels > MOST_VOXELS:
        expected = f"at most {MOST_VOXELS:,} voxels; crop it or resample it".replace(",", " ")
        raise _error("the volume is too large", path, expected, size)
    needed, free = BYTES_PER_VOXEL * voxels, available_memory()
    if free is not None and needed > free:
        expected = f"{needed / 1e9:.1f} GB of free memory for {size} voxels; crop it or resample it"
        raise _error("there is too little memory to read the volume", path, expected, f"{free / 1e9:.1f} GB")


def available_memory() -> int | None:
    """Bytes that this machine can give without swapping; None where it does not say."""
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def _error(problem: str, path: Path, expected: str, found: str) -> BundleError:
    return BundleError(problem, case=case_id(path), stage="cohort", file=path, expected=expected, found=found)
