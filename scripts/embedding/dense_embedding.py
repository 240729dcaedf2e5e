"""AnatomyNet over a whole volume, window by window as in training, and look-ups in the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError
from scripts.embedding.cells import FINE, CellGrid, vectors_at
from scripts.networks.anatomy_net import DEEPEST_STRIDE, STRIDES, AnatomyNet
from scripts.networks.precision import autocast

BATCH_SIZE = 4  # windows at once


@dataclass(frozen=True)
class WindowSettings:
    """How a volume is covered by windows.

    Attributes:
        window_overlap: share of a window that the next one also covers, along each axis.
        bfloat16: whether the network computes in bfloat16 where the processor does; False takes float32.
    """

    window_overlap: float = 0.5
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.window_overlap < 1:
            raise BundleError(
                "window_overlap is a share of a window",
                stage="embedding",
                expected="from 0 to below 1",
                found=self.window_overlap,
            )


@dataclass(frozen=True)
class DenseEmbedding:
    """Unit vectors of a volume.

    Attributes:
        levels: "fine" and "coarse" -> (channels, cells along X, Y, Z), which may reach beyond the volume.
        spacing_mm: of the volume's voxels.
    """

    levels: Mapping[str, Tensor]
    spacing_mm: tuple[float, float, float]

    def grid(self, level: str = FINE) -> CellGrid:
        """Where a level's cells lie."""
        x, y, z = self.levels[level].shape[1:]
        return CellGrid((x, y, z), self.spacing_mm, STRIDES[level])

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.levels[FINE].device

    def at(self, voxels: Tensor) -> Tensor:
        """Both levels' vectors at (N, 3) voxels, joined, (N, F + G): a product of two is the sum of their cosines."""
        parts = [
            vectors_at(cells[None], voxels[None].to(cells), STRIDES[name])[0] for name, cells in self.levels.items()
        ]
        return torch.cat(parts, dim=1)

    @cached_property
    def fine_vectors(self) -> Tensor:
        """`at` the centres of all fine cells, (cells along X, Y, Z, F + G)."""
        centres = self.grid().centres(self.device)
        return self.at(centres.reshape(-1, 3)).reshape(*centres.shape[:3], -1)


@torch.inference_mode()
def embed_volume(
    network: AnatomyNet,
    image: Tensor,
    spacing_mm: tuple[float, float, float],
    window_size: Sequence[int],
    settings: WindowSettings | None = None,
    batch_size: int = BATCH_SIZE,
) -> DenseEmbedding:
    """Windows of the training's size (group norm sees nothing else), overlapping, blended by a tent.

    Where a window holds nothing but zeros, cells that no other window covers have vectors of zeros.

    Args:
        network: in evaluation mode.
        image: (1, X, Y, Z) in [0, 1], 0 outside the body, on the network's device.
        spacing_mm: of its voxels.
        window_size: of the training, multiples of 16.
        settings: see `WindowSettings`.
        batch_size: windows at once.
    """
    settings = settings or WindowSettings()
    window_size = tuple(int(size) for size in window_size)
    sides = list(zip(image.shape[1:], window_size, strict=True))
    starts = [_starts(size, window, settings.window_overlap) for size, window in sides]
    covered = [axis[-1] + window for axis, window in zip(starts, window_size, strict=True)]
    padding = [end - size for end, size in zip(covered, image.shape[1:], strict=True)]
    padded = functional.pad(image, [p for pad in reversed(padding) for p in (0, pad)])
    sums: dict[str, Tensor] = {}
    every = list(product(*starts))
    corners = [corner for corner in every if _window(padded, corner, window_size).any()] or every[:1]
    for batch in _batches(corners, batch_size):
        windows = torch.stack([_window(padded, corner, window_size) for corner in batch])
        with autocast(image.device, settings.bfloat16):
            levels = network(windows)
        for level, cells in levels.items():
            if level not in sums:
                sums[level] = cells.new_zeros((cells.shape[1], *(end // STRIDES[level] for end in covered)))
            tent = _tent(cells.shape[2:]).to(cells)
            for corner, part in zip(batch, cells, strict=True):
                first = [start // STRIDES[level] for start in corner]
                _window(sums[level], first, part.shape[1:]).add_(part * tent)
    return DenseEmbedding({level: functional.normalize(total, dim=0) for level, total in sums.items()}, spacing_mm)


def _starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis so that they cover it; multiples of the deepest stride."""
    step = max(int(window * (1 - overlap)) // DEEPEST_STRIDE, 1) * DEEPEST_STRIDE
    count = max(0, -(-(size - window) // step)) + 1
    return [number * step for number in range(count)]


def _window(volume: Tensor, corner: Sequence[int], size: Sequence[int]) -> Tensor:
    x, y, z = (slice(start, start + length) for start, length in zip(corner, size, strict=True))
    return volume[:, x, y, z]


def _tent(size: Sequence[int]) -> Tensor:
    """Weight of each cell of a window, highest in the middle, never 0."""
    axes = [1 - ((torch.arange(n) + 0.5) / n * 2 - 1).abs() for n in size]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def _batches(items: Sequence[tuple[int, ...]], size: int) -> Iterator[Sequence[tuple[int, ...]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
