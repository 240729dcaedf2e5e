"""The loops of a sweep, compiled by numba: what torch does in two passes over nine neighbours, in one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Sweep = Callable[..., None]


@cache
def compiled_sweep() -> Sweep | None:
    """`carry`, compiled; None where numba is not installed. The machine code is kept for later processes."""
    try:
        from numba import njit
    except ImportError:
        return None
    try:
        return _as_sweep(njit(nogil=True, cache=True)(carry))
    except RuntimeError:  # no folder that the code can be kept in
        return _as_sweep(njit(nogil=True)(carry))


def _as_sweep(compiled: Any) -> Sweep:
    sweep: Sweep = compiled
    return sweep


def carry(
    distance: np.ndarray,
    image: np.ndarray,
    step_mm: np.ndarray,
    weight: np.float32,
    rest: np.float32,
    least: np.float32,
    up: bool,
) -> None:
    """Shorten the distances of each plane, one after the other, by paths over the nine neighbours in the one before.

    The order of all sums is that of the sweeps by torch, so that both come out the same to the bit.

    Args:
        distance: (planes, K, height + 2, width + 2) float32, framed by infinities; written to.
        image: (C, planes, height + 2, width + 2) float32, framed.
        step_mm: (3, 3) float32 lengths of the edges.
        weight: of intensity against length, lambda.
        rest: 1 - lambda.
        least: what every intensity step has more.
        up: from the first plane to the last one.
    """
    planes, sets, rows, columns = distance.shape
    width = columns - 2
    cost = np.empty(width, np.float32)
    for step in range(1, planes):
        plane = step if up else planes - 1 - step
        beside = plane - 1 if up else plane + 1
        for row in range(1, rows - 1):
            for across in range(3):
                for along in range(3):
                    there = row + across - 1
                    for column in range(width):
                        jump = image[0, plane, row, column + 1] - image[0, beside, there, column + along]
                        cost[column] = abs(jump) + least
                    for channel in range(1, len(image)):
                        for column in range(width):
                            jump = (
                                image[channel, plane, row, column + 1] - image[channel, beside, there, column + along]
                            )
                            cost[column] += abs(jump)
                    if rest > 0:
                        for column in range(width):
                            cost[column] = cost[column] / (cost[column] * rest + weight)
                    for column in range(width):
                        cost[column] *= step_mm[across, along]
                    for seed_set in range(sets):
                        own = distance[plane, seed_set, row]
                        other = distance[beside, seed_set, there]
                        for column in range(width):
                            own[column + 1] = min(own[column + 1], other[column + along] + cost[column])
