"""Sweeps along one axis of a volume, whose planes across it are laid out one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad

from scripts.pseudo_labels.sweeps.compiled_sweep import Kernel, compiled_sweep

EPSILON = 1e-5


@dataclass(frozen=True)
class FramedImage:
    """What all seed sets share along one axis.

    Attributes:
        axis: 0, 1 or 2.
        values: (C, planes, height + 2, width + 2) intensities.
        step_mm: (3, 3) lengths of the edges to the nine voxels of the plane beside.
        lam: see `geodesic_distance`.
    """

    axis: int
    values: torch.Tensor
    step_mm: torch.Tensor
    lam: float


def framed_image(image: torch.Tensor, spacing_mm: tuple[float, ...], axis: int, lam: float) -> FramedImage:
    """Lay out a (C, X, Y, Z) image for sweeps along an axis."""
    values = pad(image.movedim(axis + 1, 1), (1, 1, 1, 1)).contiguous()
    return FramedImage(axis, values, _step_lengths_mm(spacing_mm, axis).to(image.device), lam)


def axis_sweeps(image: FramedImage, count: int, kept_bytes: int) -> AxisSweeps:
    """By compiled loops on a CPU, where there are any; else by torch.

    Args:
        image: see `framed_image`.
        count: of seed sets, K.
        kept_bytes: memory for edge costs that torch keeps.
    """
    kernel = compiled_sweep() if image.values.device.type == "cpu" else None
    return TorchSweeps(image, count, kept_bytes) if kernel is None else CompiledSweeps(image, count, kernel)


class AxisSweeps(ABC):
    """Distances (planes, K, height + 2, width + 2), framed by what is unreachable."""

    def __init__(self, image: FramedImage, count: int) -> None:
        self.image = image
        length, height, width = image.values.shape[1:]
        self.distance = torch.full((length, count, height, width), torch.inf, device=image.values.device)
        self.inner = self.distance[:, :, 1:-1, 1:-1]

    def sweep(self, distance: torch.Tensor) -> torch.Tensor:
        """Carry (K, X, Y, Z) distances along the axis, up and then down; the result is a view of this object's."""
        result = self.inner.movedim(0, self.image.axis + 1)
        for own, given in zip(result.unbind(1), distance.unbind(1), strict=True):  # all at once misses the cache
            own.copy_(given)
        self.carry(up=True)
        self.carry(up=False)
        return result

    @abstractmethod
    def of_fewer(self, count: int) -> AxisSweeps:
        """The same of so many seed sets."""

    @abstractmethod
    def carry(self, up: bool) -> None:
        """Shorten the distances of each plane by paths over its nine neighbours in the one before."""


class CompiledSweeps(AxisSweeps):
    """By `compiled_sweep`."""

    def __init__(self, image: FramedImage, count: int, kernel: Kernel) -> None:
        super().__init__(image, count)
        self.kernel = kernel
        self.arrays = [part.numpy() for part in (self.distance, image.values, image.step_mm)]
        self.weights = np.float32(image.lam), np.float32(1 - image.lam), np.float32(EPSILON)

    def of_fewer(self, count: int) -> AxisSweeps:
        return CompiledSweeps(self.image, count, self.kernel)

    def carry(self, up: bool) -> None:
        self.kernel(*self.arrays, *self.weights, up)


class TorchSweeps(AxisSweeps):
    """`neighbours[i]` and `intensities[c, i]` show plane i shifted by the nine in-plane steps, as views of one memory.

    Edge costs are kept for later sweeps while there is room.
    """

    def __init__(self, image: FramedImage, count: int, kept_bytes: int) -> None:
        super().__init__(image, count)
        (height, width), device = self.inner.shape[2:], image.values.device
        self.intensity = image.values[..., 1:-1, 1:-1]
        self.neighbours = self.distance.unfold(2, height, 1).unfold(3, width, 1)
        self.intensities = image.values.unfold(2, height, 1).unfold(3, width, 1)
        self.cost, self.added = (torch.empty(3, 3, height, width, device=device) for _ in range(2))
        self.kept: dict[tuple[int, int], torch.Tensor] = {}
        self.most_kept = kept_bytes // self.cost.nbytes
        self.path = torch.empty(count, 3, 3, height, width, device=device)
        self.best = torch.empty(count, height, width, device=device)

    def of_fewer(self, count: int) -> AxisSweeps:
        fewer = TorchSweeps(self.image, count, 0)
        fewer.kept, fewer.most_kept = self.kept, self.most_kept
        return fewer

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
        torch.sub(self.intensity[0, plane], self.intensities[0, neighbour], out=self.cost)
        self.cost.abs_().add_(EPSILON)
        for channel in range(1, len(self.intensity)):
            torch.sub(self.intensity[channel, plane], self.intensities[channel, neighbour], out=self.added)
            self.cost.add_(self.added.abs_())
        if self.image.lam < 1:
            self.cost.div_(self.cost * (1 - self.image.lam) + self.image.lam)
        self.cost.mul_(self.image.step_mm[:, :, None, None])
        if len(self.kept) < self.most_kept:
            self.kept[plane, neighbour] = self.cost.clone()
        return self.cost


def _step_lengths_mm(spacing_mm: tuple[float, ...], axis: int) -> torch.Tensor:
    """(3, 3), in the order of the in-plane axes."""
    across = [spacing for index, spacing in enumerate(spacing_mm) if index != axis]
    first, second = torch.meshgrid(*(torch.tensor([-step, 0.0, step]) for step in across), indexing="ij")
    return torch.sqrt(spacing_mm[axis] ** 2 + first**2 + second**2)
