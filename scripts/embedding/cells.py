"""The grid of embedding cells: stride, centres, affine, fractions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scripts.networks.anatomy_net import STRIDES

STRIDE = STRIDES["fine"]  # voxels per fine cell, the same along each axis


def cells_affine(voxel_affine: np.ndarray) -> np.ndarray:
    """(4, 4) affine of the fine cells' centres."""
    affine = voxel_affine @ np.diag([STRIDE, STRIDE, STRIDE, 1.0])
    affine[:3, 3] += voxel_affine[:3, :3] @ np.full(3, (STRIDE - 1) / 2)
    return affine


def cells_at(embedding: Tensor, voxels: Tensor, stride: int) -> Tensor:
    """Embeddings at window voxels, linear between cells and of unit length again.

    Args:
        embedding: (B, F, X / stride, Y / stride, Z / stride).
        voxels: (B, N, 3) voxels of the window.
        stride: voxels per cell; the centre of cell 0 is voxel (stride - 1) / 2.

    Returns:
        (B, N, F).
    """
    size = torch.tensor(embedding.shape[2:], device=voxels.device)
    cells = (voxels - (stride - 1) / 2) / stride
    # align_corners=False: -1 and 1 are the outer borders of the first and last cell.
    grid = ((2 * cells + 1) / size - 1).flip(-1)[:, :, None, None]
    sampled = functional.grid_sample(embedding, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.normalize(sampled[..., 0, 0].transpose(1, 2), dim=2)


def cell_fractions(shares: np.ndarray | Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Share of each class in each fine cell, (1 + K, x, y, z) float32, background (everything else) first.

    Args:
        shares: (K, X, Y, Z) of the voxels at the working spacing.
        cells: cells along X, Y, Z; voxels beyond the volume are background.
    """
    shares = torch.as_tensor(shares).float()
    missing = [STRIDE * count - size for count, size in zip(cells, shares.shape[1:], strict=True)]
    padded = functional.pad(shares, [p for pad in reversed(missing) for p in (0, pad)])
    pooled = functional.avg_pool3d(padded[None], STRIDE)[0]
    return torch.cat([1 - pooled.sum(dim=0, keepdim=True), pooled])


def cells_inside(body: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Which fine cells lie in the (X, Y, Z) body mask by more than half, (x, y, z) bool; `cells` as above."""
    return cell_fractions(body.cpu()[None] > 0, cells)[1] > 0.5
