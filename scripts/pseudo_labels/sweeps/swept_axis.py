"""Sweeps along one axis of a volume, whose planes across it are laid out one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch.nn.functional import pad

from scripts.pseudo_labels.sweeps.compiled_sweep import Sweep, compiled_sweep

EPSILON = 1e-5


def swept_axis(
    image: torch.Tensor, count: int, spacing_mm: tuple[float, ...], axis: int, lam: float, kept_bytes: int
) -> SweptAxis:
    """By compiled loops on a CPU, where there are any; else by torch.

    Args:
        image: (C, X, Y, Z).
        count: of seed sets, K.
        spacing_mm: along X, Y, Z.
        axis: 0, 1 or 2.
        lam: see `geodesic_distance`.
        kept_bytes: memory for edge costs that torch keeps.
    """
    sweep = compiled_sweep() if image.device.type == "cpu" else None
    if sweep is None:
        return SweptByTorch(image, count, spacing_mm, axis, lam, kept_bytes)
    return SweptByLoops(image, count, spacing_mm, axis, lam, sweep)


class SweptAxis(ABC):
    """Distances (planes, K, height, width) and intensities, both framed; distances by what is unreachable."""

    def __init__(self, image: torch.Tensor, count: int, spacing_mm: tuple[float, ...], axis: int, lam: float) -> None:
        self.axis, self.lam = axis, lam
        self.framed = pad(image.movedim(axis + 1, 1), (1, 1, 1, 1))
        length, height, width = self.framed.shape[1:]
        self.distance = torch.full((length, count, height, width), torch.inf, device=image.device)
        self.inner = self.distance[:, :, 1:-1, 1:-1]
        self.step_mm = _step_lengths_mm(spacing_mm, axis).to(image.device)

    def sweep(self, distance: torch.Tensor) -> torch.Tensor:
        """Carry (K, X, Y, Z) distances along the axis, up and then down; the result is a view of this object's."""
        result = self.inner.movedim(0, self.axis + 1)
        for own, given in zip(result.unbind(1), distance.unbind(1), strict=True):  # all at once misses the cache
            own.copy_(given)
        self.carry(up=True)
        self.carry(up=False)
        return result

    @abstractmethod
    def carry(self, up: bool) -> None:
        """Shorten the distances of each plane by paths over its nine neighbours in the one before."""


class SweptByLoops(SweptAxis):
    """By `compiled_sweep`."""

    def __init__(
        self, image: torch.Tensor, count: int, spacing_mm: tuple[float, ...], axis: int, lam: float, sweep: Sweep
    ) -> None:
        super().__init__(image, count, spacing_mm, axis, lam)
        self.compiled = sweep

    def carry(self, up: bool) -> None:
        distance, image, step_mm = (part.numpy() for part in (self.distance, self.framed, self.step_mm))
        weights = np.float32(self.lam), np.float32(1 - self.lam), np.float32(EPSILON)
        self.compiled(distance, image, step_mm, *weights, up)


class SweptByTorch(SweptAxis):
    """`neighbours[i]` and `intensities[c, i]` show plane i shifted by the nine in-plane steps, as views of one memory.

    Edge costs are kept for later sweeps while there is room.
    """

    def __init__(
        self, image: torch.Tensor, count: int, spacing_mm: tuple[float, ...], axis: int, lam: float, kept_bytes: int
    ) -> None:
        super().__init__(image, count, spacing_mm, axis, lam)
        height, width = self.inner.shape[2:]
        self.image = self.framed[..., 1:-1, 1:-1]
        self.neighbours = self.distance.unfold(2, height, 1).unfold(3, width, 1)
        self.intensities = self.framed.unfold(2, height, 1).unfold(3, width, 1)
        self.cost, self.added = (torch.empty(3, 3, height, width, device=image.device) for _ in range(2))
        self.kept: dict[tuple[int, int], torch.Tensor] = {}
        self.most_kept = kept_bytes // self.cost.nbytes
        self.path = torch.empty(count, 3, 3, height, width, device=image.device)
        self.best = torch.empty(count, height, width, device=image.device)

    def carry(self, up: bool) -> None:
        length = len(self.inner)
        for plane in range(1, length) if up else range(length - 2, -1, -1):
            self._relax(self.inner[plane], plane, plane - 1 if up else plane + 1)

    def _relax(self, distance: torch.Tensor, plane: int, neighbour: int) -> None:
        torch.add(self.neighbours[neighbour], self._edge_costs(plane, neighbour), out=self.path)
        torch.amin(self.path, dim=(1, 2), out=self.best)
        torch.minimum(distance, self.best, out=distance)

    def _edge_costs(self, plane: int, neighbour: int) -> torch.Tensor:
        """(3, 3, height, width) costs of the edges between two planes."""
        if (kept := self.kept.get((plane, neighbour))) is not None:
            return kept
        torch.sub(self.image[0, plane], self.intensities[0, neighbour], out=self.cost)
        self.cost.abs_().add_(EPSILON)
        for channel in range(1, len(self.image)):
            torch.sub(self.image[channel, plane], self.intensities[channel, neighbour], out=self.added)
            self.cost.add_(self.added.abs_())
        if self.lam < 1:
            self.cost.div_(self.cost * (1 - self.lam) + self.lam)
        self.cost.mul_(self.step_mm[:, :, None, None])
        if len(self.kept) < self.most_kept:
            self.kept[plane, neighbour] = self.cost.clone()
        return self.cost


def _step_lengths_mm(spacing_mm: tuple[float, ...], axis: int) -> torch.Tensor:
    """(3, 3) lengths of the edges to the nine voxels of the plane beside, in the order of the in-plane axes."""
    across = [spacing for index, spacing in enumerate(spacing_mm) if index != axis]
    first, second = torch.meshgrid(*(torch.tensor([-step, 0.0, step]) for step in across), indexing="ij")
    return torch.sqrt(spacing_mm[axis] ** 2 + first**2 + second**2)
