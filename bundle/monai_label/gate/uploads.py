"""What a client uploads: a volume or a label map that can be read, under a file name of ours."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bundle.monai_label.gate.rules import STAGE, refusal
from scripts.common.errors import BundleError
from scripts.data.reading.grid_limits import MAXIMUM_VOXELS
from scripts.data.volume_io import Volume, peek_grid

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd")
NRRD_HEADER_BYTES = 1 << 20


def check_upload(name: str, file: BinaryIO, read: Callable[[Path], Volume]) -> str:
    """Judge an uploaded file by reading it; it is rewound.

    Args:
        name: as the client calls it.
        file: its content.
        read: `read_volume` or `read_labels`.

    Returns:
        A name with its suffix and nothing else of the client's.

    Raises:
        BundleError: not one of our formats, too many voxels, or not to be read.
    """
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise refusal("files of this kind are not taken", " or ".join(SUFFIXES), name)
    if suffix.endswith(".nrrd") and not _holds_its_voxels(file):
        raise refusal("the voxels lie in another file", "header and voxels in one file", name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        file.seek(0)
        try:
            _check_size(path)
            read(path)
        except BundleError as error:
            raise BundleError(error.problem, stage=STAGE, expected=error.expected, found=error.found) from error
    return path.name


def _holds_its_voxels(nrrd: BinaryIO) -> bool:
    """Whether the header names no file of the server's; it must end where we look. Readers take any line ends."""
    start = nrrd.read(NRRD_HEADER_BYTES).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, blank, _ = start.partition(b"\n\n")
    nrrd.seek(0)
    return bool(blank) and re.search(rb"(?im)^\s*data ?file", header) is None


def _check_size(path: Path) -> None:
    """A header alone can claim more voxels than any memory holds."""
    try:
        shape, _ = peek_grid(path)
    except Exception:  # whatever it is, `read` says it better
        return
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise BundleError("the volume is too large", expected=f"at most {MAXIMUM_VOXELS} voxels", found=shape)
