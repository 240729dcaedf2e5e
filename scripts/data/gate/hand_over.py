"""Volumes that the gate has read are handed on to what works on them next in this process: nothing is read twice.

What is handed on equals what MONAI's reader would read, bit for bit; a volume of which that is not certain is read
again, as is one that finds no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import NibabelReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from scripts.common.files import open_nifti

HELD_BYTES = 2**30  # of all volumes together: one clinical CT of 512 x 512 x 1000


class _Held:
    """Volumes that wait for whoever takes them, by their files."""

    def __init__(self) -> None:
        self.arrays: dict[Path, np.ndarray] = {}

    def add(self, file: str | Path, array: np.ndarray) -> None:
        if array.nbytes + sum(held.nbytes for held in self.arrays.values()) <= HELD_BYTES:
            self.arrays[Path(file).absolute()] = array

    def take(self, file: str | Path) -> np.ndarray | None:
        return self.arrays.pop(Path(file).absolute(), None)


_holders: list[_Held] = []


@contextmanager
def handing_over() -> Iterator[None]:
    """Hold volumes that are read meanwhile until they are taken, at most `HELD_BYTES` of them."""
    held = _Held()
    _holders.append(held)
    try:
        yield
    finally:
        _holders.remove(held)


def hold(file: str | Path, array: np.ndarray) -> None:
    """Hold what was read of a plain NIfTI file, (X, Y, Z) float32, if anybody hands volumes over."""
    if _holders and _is_read_alike(open_nifti(file)):
        _holders[-1].add(file, array)


def _is_read_alike(image: nib.Nifti1Image) -> bool:
    """Whether stored numbers become float32 without rounding on the way, whichever way a reader takes."""
    stored: Any = image.dataobj
    whole = float(stored.inter).is_integer() and np.can_cast(stored.dtype, np.float32)
    return stored.slope == 1 and (stored.inter == 0 or whole)


class LoadHeldd(LoadImaged):
    """`LoadImaged` that takes a volume which is held for it, and reads all others.

    Args:
        keys: of the files' names.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)
        self.register(_HeldReader())


class _HeldReader(NibabelReader):
    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """The file's header, with its voxels if they are held; nobody else gets these."""
        image, names = super().read(data, **kwargs), ensure_tuple(data)
        if not _holders or len(names) != 1 or (array := _holders[-1].take(str(names[0]))) is None:
            return image
        return nib.Nifti1Image(array, image.affine, image.header)
