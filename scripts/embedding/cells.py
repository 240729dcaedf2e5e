"""The grid of embedding cells: the one place that knows how cells, voxels and millimetres belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scripts.networks.anatomy_net import STRIDES

FINE = "fine"  # the level that registration works on
STRIDE = STRIDES[FINE]  # voxels per fine cell, the same along each axis
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class CellGrid:
    """The cells of one level over a volume: cell i covers the `stride` voxels from i * stride on.

    Millimetres are those of the working grid: voxel times spacing.

    Attributes:
        shape: cells along X, Y, Z; the last ones may reach beyond the volume.
        spacing_mm: of the voxels along X, Y, Z.
        stride: voxels per cell along each axis, a power of two.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    stride: int = STRIDE

    @property
    def cell_mm(self) -> np.ndarray:
        """Sides of a cell, (3,)."""
        return self.stride * np.array(self.spacing_mm)

    @property
    def _middle(self) -> float:
        """Of cell 0, in voxels."""
        return (self.stride - 1) / 2

    def centres(self, device: torch.device | None = None) -> Tensor:
        """Voxel coordinates of the cells' centres, (x, y, z, 3)."""
        axes = [torch.arange(size, device=device) * self.stride + self._middle for size in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def centres_mm(self, cells: Tensor) -> Tensor:
        """Centres of the cells with (..., 3) indices, also beyond the grid, in mm."""
        return (cells + self._middle / self.stride) * self._cell_mm(cells)

    def nearest(self, places_mm: Tensor) -> Tensor:
        """(..., 3) indices of the cells whose centres are nearest, also beyond the grid."""
        return (places_mm / self._cell_mm(places_mm) - self._middle / self.stride).round().long()

    def fractional(self, voxels: np.ndarray) -> np.ndarray:
        """Fractional indices of the cells at (..., 3) voxels."""
        return (voxels - self._middle) / self.stride

    def steps(self, reach_mm: float) -> list[int]:
        """How many whole cells lie within a distance, along each axis."""
        return [int(reach_mm // float(side)) for side in self.cell_mm.astype(np.float32)]

    def affine(self, voxel_affine: np.ndarray) -> np.ndarray:
        """(4, 4) affine of the cells' centres, from that of the voxels."""
        affine = voxel_affine @ np.diag([self.stride, self.stride, self.stride, 1.0])
        affine[:3, 3] += voxel_affine[:3, :3] @ np.full(3, self._middle)
        return affine

    def fractions(self, shares: np.ndarray | Tensor) -> Tensor:
        """Share of each class in each cell, (1 + K, x, y, z) float32, background (everything else) first.

        Args:
            shares: (K, X, Y, Z) of the voxels; those beyond the volume are background.
        """
        shares = torch.as_tensor(shares).float()
        missing = [self.stride * count - size for count, size in zip(self.shape, shares.shape[1:], strict=True)]
        padded = functional.pad(shares, [p for pad in reversed(missing) for p in (0, pad)])
        pooled = functional.avg_pool3d(padded[None], self.stride)[0]
        return torch.cat([1 - pooled.sum(dim=0, keepdim=True), pooled])

    def mostly_in(self, mask: Tensor) -> Tensor:
        """Which cells lie in the (X, Y, Z) mask by more than half, (x, y, z) bool."""
        return self.fractions(mask.cpu()[None] > 0)[1] > 0.5

    def centred_in(self, mask: Tensor) -> Tensor:
        """Which cells have their centre voxel, the lower of two that share it, in the mask, (x, y, z) bool."""
        voxels = self.centres().floor().long()
        inside = (voxels < torch.tensor(mask.shape)).all(dim=-1)
        inside[inside.clone()] = mask.cpu()[tuple(voxels[inside].T)] > 0
        return inside

    def covering(self, voxel_box: Sequence[slice]) -> Box:
        """The box of cells that holds a box of voxels."""
        x, y, z = (slice(side.start // self.stride, -(-side.stop // self.stride)) for side in voxel_box)
        return x, y, z

    def within_reach(self, places_mm: Tensor, reach_mm: float) -> Box:
        """The box of cells within reach, along each axis, of any of the (N, 3) places."""
        cell_mm = self._cell_mm(places_mm)
        low = ((places_mm.amin(dim=0) - reach_mm) / cell_mm).floor().long()
        high = ((places_mm.amax(dim=0) + reach_mm) / cell_mm).ceil().long() + 1
        edges = zip(low.tolist(), high.tolist(), self.shape, strict=True)
        x, y, z = (slice(min(max(start, 0), size), max(min(end, size), 0)) for start, end, size in edges)
        return x, y, z

    def mapped(self, box: Sequence[slice], affine_map: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """Where an affine map puts the centres of the cells in a box, (x, y, z, 3) mm.

        Every other cell of the volume along each axis is mapped, and those between by linear interpolation: of an
        affine map that is exact, at an eighth of its work.

        Args:
            box: of cells, along X, Y, Z.
            affine_map: (N, 3) mm to (N, 3) mm.
        """
        firsts = [side.start - side.start % 2 for side in box]
        every_other = [np.arange(first, side.stop + 1, 2) for first, side in zip(firsts, box, strict=True)]
        axes = [cells * self.stride + self._middle for cells in every_other]
        lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        mapped_mm = affine_map(lattice.reshape(-1, 3) * np.array(self.spacing_mm)).reshape(lattice.shape)
        coarse = torch.as_tensor(np.moveaxis(mapped_mm, -1, 0)[None], dtype=torch.float32)
        sizes = [2 * len(axis) - 1 for axis in axes]
        fine = functional.interpolate(coarse, size=sizes, mode="trilinear", align_corners=True)[0]
        inner = tuple(slice(side.start - first, side.stop - first) for first, side in zip(firsts, box, strict=True))
        return fine[(slice(None), *inner)].permute(1, 2, 3, 0)

    def _cell_mm(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.cell_mm, dtype=torch.float32, device=like.device)


def vectors_at(cells: Tensor, voxels: Tensor, stride: int) -> Tensor:
    """Embeddings at window voxels, linear between cells and of unit length again, (B, N, F).

    Args:
        cells: (B, F, X / stride, Y / stride, Z / stride).
        voxels: (B, N, 3) voxels of the window.
        stride: voxels per cell; the centre of cell 0 is voxel (stride - 1) / 2.
    """
    size = torch.tensor(cells.shape[2:], device=voxels.device)
    fractional = (voxels - (stride - 1) / 2) / stride
    # align_corners=False: -1 and 1 are the outer borders of the first and last cell.
    grid = ((2 * fractional + 1) / size - 1).flip(-1)[:, :, None, None]
    sampled = functional.grid_sample(cells, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.normalize(sampled[..., 0, 0].transpose(1, 2), dim=2)
