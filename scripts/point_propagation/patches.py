"""Cropping patches around voxels, zero-padded where they leave the volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def pad_for_patches(volume: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Zero-pad (C, X, Y, Z) by half a patch per side, so that every voxel can be a patch centre."""
    half_x, half_y, half_z = (size // 2 for size in patch_size)
    return functional.pad(volume, (half_z, half_z, half_y, half_y, half_x, half_x))


def extract_patches(padded: Tensor, centres: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Patches around voxel centres.

    Args:
        padded: (C, X, Y, Z), the result of `pad_for_patches`.
        centres: (N, 3) integer voxel indices in the *unpadded* volume.
        patch_size: (X, Y, Z) voxels, even.

    Returns:
        (N, C, x, y, z): the patch of centre c covers [c - size / 2, c + size / 2), so that index size / 2 is c.
    """
    x, y, z = (int(size) for size in patch_size)
    patches = [padded[:, i : i + x, j : j + y, k : k + z] for i, j, k in centres.tolist()]
    return torch.stack(patches) if patches else padded.new_zeros((0, padded.shape[0], x, y, z))


def with_boxes_masked(patches: Tensor, most: int, share: float, random: np.random.RandomState) -> Tensor:
    """Patches (N, x, y, z) with 1 to `most` boxes each set to zero, at independent places; 0 masks nothing.

    Args:
        patches: stay as they are.
        most: largest number of boxes.
        share: side of a box in patches, rounded down to voxels.
        random: draws numbers and places.
    """
    masked = patches.clone()
    if most == 0:
        return masked
    box = [max(int(size * share), 1) for size in patches.shape[1:]]
    for patch in masked:
        for _ in range(random.randint(1, most + 1)):
            x, y, z = (random.randint(0, size - b + 1) for size, b in zip(patch.shape, box, strict=True))
            patch[x : x + box[0], y : y + box[1], z : z + box[2]] = 0
    return masked
