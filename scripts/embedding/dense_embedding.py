"""AnatomyNet over a whole volume, window by window as in training, and look-ups in the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from scripts.embedding.cells import cells_at
from scripts.networks.anatomy_net import DEEPEST_STRIDE, STRIDES, AnatomyNet

OVERLAP = 0.5


@dataclass(frozen=True)
class DenseEmbedding:
    """Unit vectors of a volume, level -> (channels, cells along X, Y, Z); cell i begins at voxel i * stride.

    Attributes:
        levels: "fine" and "coarse".
        shape: (X, Y, Z) of the volume; the cells may reach beyond.
    """

    levels: Mapping[str, Tensor]
    shape: tuple[int, int, int]

    def at(self, voxels: Tensor) -> Tensor:
        """Both levels' vectors at (N, 3) voxels, joined, (N, F + G): a product of two is the sum of their cosines."""
        parts = [cells_at(cells[None], voxels[None].to(cells), STRIDES[name])[0] for name, cells in self.levels.items()]
        return torch.cat(parts, dim=1)

    @cached_property
    def fine_vectors(self) -> Tensor:
        """`at` the centres of all fine cells, (cells along X, Y, Z, F + G)."""
        centres = self.cell_centres("fine")
        return self.at(centres.reshape(-1, 3)).reshape(*centres.shape[:3], -1)

    def cell_centres(self, level: str) -> Tensor:
        """Voxel coordinates of the centres of a level's cells, (cells along X, Y, Z, 3)."""
        stride = STRIDES[level]
        cells = self.levels[level]
        axes = [torch.arange(size, device=cells.device) * stride + (stride - 1) / 2 for size in cells.shape[1:]]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


@torch.inference_mode()
def embed_volume(
    network: AnatomyNet, image: Tensor, window_size: Sequence[int], batch_size: int = 4, bfloat16: bool = True
) -> DenseEmbedding:
    """Windows of the training's size (group norm sees nothing else), overlapping by half, blended by a tent.

    Where a window holds nothing but zeros, cells that no other window covers have vectors of zeros.

    Args:
        network: in evaluation mode.
        image: (1, X, Y, Z) in [0, 1], 0 outside the body, on the network's device.
        window_size: of the training, multiples of 16.
        batch_size: windows at once.
        bfloat16: autocast.
    """
    shape = tuple(int(size) for size in image.shape[1:])
    window_size = tuple(int(size) for size in window_size)
    starts = [_starts(size, window) for size, window in zip(shape, window_size, strict=True)]
    covered = [axis[-1] + window for axis, window in zip(starts, window_size, strict=True)]
    padding = [end - size for end, size in zip(covered, shape, strict=True)]
    padded = functional.pad(image, [p for pad in reversed(padding) for p in (0, pad)])
    sums: dict[str, Tensor] = {}
    every = list(product(*starts))
    corners = [corner for corner in every if _window(padded, corner, window_size).any()] or every[:1]
    for batch in _batches(corners, batch_size):
        windows = torch.stack([_window(padded, corner, window_size) for corner in batch])
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            found = network(windows)
        for level, cells in found.items():
            if level not in sums:
                sums[level] = cells.new_zeros((cells.shape[1], *(end // STRIDES[level] for end in covered)))
            tent = _tent(cells.shape[2:]).to(cells)
            for corner, part in zip(batch, cells, strict=True):
                size = tuple(part.shape[1:])
                _window(sums[level], [start // STRIDES[level] for start in corner], size).add_(part * tent)
    return DenseEmbedding({level: functional.normalize(total, dim=0) for level, total in sums.items()}, shape)


def _starts(size: int, window: int) -> list[int]:
    """Where windows begin along an axis so that they cover it; multiples of the deepest stride."""
    step = max(int(window * (1 - OVERLAP)) // DEEPEST_STRIDE, 1) * DEEPEST_STRIDE
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
