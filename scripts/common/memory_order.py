"""Arrays brought into another order in memory, which for a large volume takes seconds if it is done row by row."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import DTypeLike

TILE = 32  # voxels along both axes that change their places: rows of a tile stay in the cache


def in_c_order(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """As `numpy.ascontiguousarray`, tile by tile where the first axis of three lies closest together."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if array.ndim != 3 or abs(array.strides[0]) >= abs(array.strides[2]):
        return np.ascontiguousarray(array, dtype=dtype)
    result = np.empty(array.shape, dtype=dtype)
    _copy_tiles(array, result)
    return result


def in_file_order(array: np.ndarray) -> np.ndarray:
    """As `numpy.asfortranarray`: the order in which NIfTI files hold voxels."""
    if array.ndim != 3 or abs(array.strides[0]) <= abs(array.strides[2]):
        return np.asfortranarray(array)
    result = np.empty(array.shape, dtype=array.dtype, order="F")
    _copy_tiles(array, result)
    return result


def _copy_tiles(array: np.ndarray, result: np.ndarray) -> None:
    corners = product(range(0, array.shape[0], TILE), range(0, array.shape[2], TILE))
    for x, z in corners:
        result[x : x + TILE, :, z : z + TILE] = array[x : x + TILE, :, z : z + TILE]
