"""The loops of a sweep, compiled by numba: what torch does in two passes over nine neighbours, in one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

Kernel = Callable[..., None]
SIGNATURE = "void(float32[:,:,:,::1], float32[:,:,:,::1], float32[:,::1], float32, float32, float32, boolean)"


@cache
def compiled_sweep() -> Kernel | None:
    """`sweep_planes`, compiled; None where numba is missing or cannot compile.

    The machine code is kept for later processes in the user's cache, or in `NUMBA_CACHE_DIR`; where that cannot be
    written or read, each process compiles for itself.
    """
    try:
        import numba
    except (ImportError, OSError):
        return None
    for compiled in (_kept, _compiled):
        try:
            return compiled(numba)
        except Exception as error:  # a damaged or full cache raises whatever it meets; torch sweeps as well
            logger.info("loops of the geodesic sweeps: %s", error)
    return None


def _compiled(numba: Any, keep: bool = False) -> Kernel:
    kernel: Kernel = numba.njit(SIGNATURE, nogil=True, cache=keep)(sweep_planes)
    return kernel


def _kept(numba: Any) -> Kernel:
    """Keeps the machine code, but not beside the source, which may be an installed package."""
    given = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = given or str(_cache_folder())
    try:
        return _compiled(numba, keep=True)
    finally:
        numba.config.CACHE_DIR = given


def _cache_folder() -> Path:
    """Raises OSError or RuntimeError where the user has no folder that can be written to."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache").expanduser()
    folder = folder / "oneshot_ct"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder


def sweep_planes(
    distance: np.ndarray,
    image: np.ndarray,
    step_mm: np.ndarray,
    lam: np.float32,
    one_minus_lam: np.float32,
    epsilon: np.float32,
    up: bool,
) -> None:
    """Shorten the distances of each plane, one after the other, by paths over the nine neighbours in the one before.

    The order of all sums is that of the sweeps by torch, so that both come out the same to the bit.

    Args:
        distance: (planes, K, height + 2, width + 2) float32, framed by infinities; written to.
        image: (C, planes, height + 2, width + 2) float32, framed.
        step_mm: (3, 3) float32 lengths of the edges.
        lam: weight of intensity against length.
        one_minus_lam: as float32.
        epsilon: what every intensity step has more.
        up: from the first plane to the last one.
    """
    planes, sets, rows, columns = distance.shape
    width = columns - 2
    cost = np.empty((3, 3, width), np.float32)
    for step in range(1, planes):
        plane = step if up else planes - 1 - step
        beside = plane - 1 if up else plane + 1
        for row in range(1, rows - 1):
            for across in range(3):
                left, middle, right = cost[across, 0], cost[across, 1], cost[across, 2]
                own_row, other_row = image[0, plane, row], image[0, beside, row + across - 1]
                for column in range(width):
                    here = own_row[column + 1]
                    left[column] = abs(here - other_row[column]) + epsilon
                    middle[column] = abs(here - other_row[column + 1]) + epsilon
                    right[column] = abs(here - other_row[column + 2]) + epsilon
                for channel in range(1, len(image)):
                    own_row, other_row = image[channel, plane, row], image[channel, beside, row + across - 1]
                    for column in range(width):
                        here = own_row[column + 1]
                        left[column] += abs(here - other_row[column])
                        middle[column] += abs(here - other_row[column + 1])
                        right[column] += abs(here - other_row[column + 2])
                for along in range(3):
                    edge = cost[across, along]
                    if one_minus_lam > 0:
                        for column in range(width):
                            edge[column] = edge[column] / (edge[column] * one_minus_lam + lam)
                    for column in range(width):
                        edge[column] *= step_mm[across, along]
            for seed_set in range(sets):
                own, other = distance[plane, seed_set, row], distance[beside, seed_set]
                above, same, below = other[row - 1], other[row], other[row + 1]
                for column in range(width):
                    nearest = own[column + 1]
                    for along in range(3):
                        nearest = min(nearest, above[column + along] + cost[0, along, column])
                        nearest = min(nearest, same[column + along] + cost[1, along, column])
                        nearest = min(nearest, below[column + along] + cost[2, along, column])
                    own[column + 1] = nearest
