"""Where the frames of a DICOM series lie: in which order they are a volume, evenly spaced, tilted or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNEVEN_SLICES_MM = 0.1
LARGEST_OFF_MM = 0.5  # of a slice from where it would lie if all were evenly spaced
SAME_POSITION_MM = 0.01
SAME_DIRECTION = 1e-3
LARGEST_DRIFT_VOXELS = 0.01  # of the last slice against the first; more is a tilted gantry


@dataclass(frozen=True)
class Grid:
    """Slices of one size in one orientation.

    Attributes:
        size: columns, rows.
        axes_mm: (3, 2) steps along columns and rows in mm.
    """

    size: tuple[int, int]
    axes_mm: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector that is perpendicular to the slices."""
        x, y = (axis / np.linalg.norm(axis) for axis in self.axes_mm.T)
        return np.cross(x, y)

    def matches(self, other: Grid) -> bool:
        """Whether slices of both can be stacked."""
        lengths_mm = np.linalg.norm(self.axes_mm, axis=0)
        return self.size == other.size and bool(
            np.all(np.abs(self.axes_mm - other.axes_mm) <= SAME_DIRECTION * lengths_mm)
        )


@dataclass(frozen=True)
class Stack:
    """Places of a stack, ascending along the slices' normal; several frames may lie at one place.

    Attributes:
        grid: of each slice.
        places: for each place, which frames lie there.
        positions_mm: (places, 3) first voxel of the slice.
    """

    grid: Grid
    places: tuple[tuple[int, ...], ...]
    positions_mm: np.ndarray

    @property
    def gaps_mm(self) -> np.ndarray:
        """(places - 1, 3) steps from each place to the next."""
        return np.diff(self.positions_mm, axis=0)

    @property
    def is_even(self) -> bool:
        """Whether all steps are the same, and small differences do not add up either."""
        count = len(self.positions_mm)
        if count < 2:
            return True
        shares = np.linspace(0, 1, count)[:, None]
        evenly_mm = self.positions_mm[0] + shares * (self.positions_mm[-1] - self.positions_mm[0])
        off_mm = float(np.linalg.norm(self.positions_mm - evenly_mm, axis=1).max())
        return bool(np.ptp(self.gaps_mm, axis=0).max() <= UNEVEN_SLICES_MM and off_mm <= LARGEST_OFF_MM)

    @property
    def tilt_deg(self) -> float:
        """Angle between the way from slice to slice and the slices' normal; 0 where it moves no voxel."""
        way = self.positions_mm[-1] - self.positions_mm[0]
        along = float(way @ self.grid.normal)
        drift_mm = float(np.linalg.norm(way - along * self.grid.normal))
        if drift_mm <= LARGEST_DRIFT_VOXELS * np.linalg.norm(self.grid.axes_mm, axis=0).min():
            return 0.0
        return float(np.degrees(np.arctan2(drift_mm, along)))

    def affine(self) -> np.ndarray:
        """(4, 4) from column, row, slice to mm, in the axes of the positions; sheared if the gantry was tilted."""
        affine = np.eye(4)
        affine[:3, :2] = self.grid.axes_mm
        way = self.positions_mm[-1] - self.positions_mm[0]
        steps = max(1, len(self.places) - 1)
        affine[:3, 2] = way / steps if self.tilt_deg else self.grid.normal * np.linalg.norm(way) / steps
        affine[:3, 3] = self.positions_mm[0]
        return affine


def stacks_of(grids: Sequence[Grid], positions_mm: np.ndarray) -> list[Stack]:
    """Frames sorted into stacks of one grid each, the one with most places first.

    Args:
        grids: of N frames.
        positions_mm: (N, 3) first voxel of each frame.
    """
    groups: list[tuple[Grid, list[int]]] = []
    for frame, grid in enumerate(grids):
        group = next((members for first, members in groups if first.matches(grid)), None)
        if group is None:
            groups.append((grid, [frame]))
        else:
            group.append(frame)
    stacks = [_stack(grid, members, positions_mm) for grid, members in groups]
    return sorted(stacks, key=lambda stack: -len(stack.places))


def _stack(grid: Grid, frames: Sequence[int], positions_mm: np.ndarray) -> Stack:
    ordered = sorted(frames, key=lambda frame: float(positions_mm[frame] @ grid.normal))
    places: list[list[int]] = []
    for frame in ordered:
        if places and np.linalg.norm(positions_mm[frame] - positions_mm[places[-1][0]]) <= SAME_POSITION_MM:
            places[-1].append(frame)
        else:
            places.append([frame])
    return Stack(grid, tuple(map(tuple, places)), positions_mm[[place[0] for place in places]])
