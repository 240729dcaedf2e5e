"""Files whose header promises more than there is."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([3.0, 3.0, 5.0, 1.0])


def claim(path: Path, shape: tuple[int, ...], content: bytes = bytes(1 << 16)) -> Path:
    """A NIfTI file whose header says `shape`, with less behind it."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(AFFINE, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    whole = header.binaryblock + bytes(4) + content
    path.write_bytes(gzip.compress(whole) if path.suffix == ".gz" else whole)
    return path
