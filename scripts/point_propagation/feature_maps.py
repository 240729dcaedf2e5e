"""PRNet's decoder features of a whole body, from windows that tile it.

A patch around each of a thousand points is a thousand passes. Some fifty windows describe every place between them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from scripts.networks.prnet import LEVELS, PRNet
from scripts.point_propagation.patches import extract_patches, pad_for_patches


@dataclass(frozen=True)
class FeatureMaps:
    """Unit feature vectors of a volume's body.

    Attributes:
        levels: {level: (C, x, y, z)}, half precision; 0 where there was no window.
        strides: {level: voxels along each side of a cell}.
        origin: (3,) voxel of the volume at which the first cell of every level starts.
    """

    levels: Mapping[str, Tensor]
    strides: Mapping[str, int]
    origin: Tensor

    def only(self, levels: Collection[str]) -> FeatureMaps:
        """Without the other levels: the finest ones are most of the memory."""
        return FeatureMaps({level: self.levels[level] for level in levels}, self.strides, self.origin)

    def cells(self, level: str, voxels: Tensor) -> Tensor:
        """Fractional cells (..., 3) of a level at fractional voxels (..., 3) of the volume."""
        stride = self.strides[level]
        return (voxels - self.origin - (stride - 1) / 2) / stride

    def at(self, level: str, voxels: Tensor) -> Tensor:
        """Unit features (N, C) of a level at fractional voxels (N, 3), interpolated; 0 beyond the maps."""
        features = self.levels[level].float()
        last = torch.tensor(features.shape[1:]) - 1
        # grid_sample counts from -1 to 1 between the outermost cells, Z first
        places = (2 * self.cells(level, voxels) / last - 1).flip(-1)[None, :, None, None]
        sampled = functional.grid_sample(features[None], places, align_corners=True)
        return functional.normalize(sampled[0, :, :, 0, 0].T, dim=1)


def feature_maps(network: PRNet, volume: Tensor, body: Tensor) -> FeatureMaps:
    """Features of all levels wherever the body is.

    Args:
        network: the fine one; autocast is the caller's.
        volume: (1, X, Y, Z) in [0, 1], as the network learned to see it.
        body: (X, Y, Z) mask.
    """
    margins = _margins(network)
    tile = [size - 2 * margin for size, margin in zip(network.patch_size, margins, strict=True)]
    body = body if body.any() else torch.ones_like(body)
    origin, counts = _tiling(body, tile)
    device = next(network.parameters()).device
    beyond = [side for size in reversed(tile) for side in (0, size)]
    padded = pad_for_patches(functional.pad(volume, beyond), network.patch_size).to(device)
    levels: dict[str, Tensor] = {}
    strides: dict[str, int] = {}
    with torch.no_grad():
        for start in _starts(body, origin, tile, counts):
            centre = origin + start + torch.tensor(tile) // 2
            maps = network.maps(extract_patches(padded, centre[None], network.patch_size))
            for level in LEVELS:
                stride = network.patch_size[0] // maps[level].shape[2]
                inner = _box([margin // stride for margin in margins], [size // stride for size in tile])
                features = functional.normalize(maps[level][0][(slice(None), *inner)].float(), dim=0)
                if level not in levels:
                    shape = [count * size // stride for count, size in zip(counts, tile, strict=True)]
                    levels[level], strides[level] = torch.zeros(len(features), *shape, dtype=torch.float16), stride
                place = _box([first // stride for first in start.tolist()], features.shape[1:])
                levels[level][(slice(None), *place)] = features.half().cpu()
    return FeatureMaps(levels, strides, origin)


def _margins(network: PRNet) -> list[int]:
    """Voxels left out at each side of a window, where it sees its own edge: an eighth, in whole cells."""
    cell = 8 * network.pooling
    margins = [-(-size // (8 * cell)) * cell for size in network.patch_size]
    return [margin if 2 * margin < size else 0 for margin, size in zip(margins, network.patch_size, strict=True)]


def _tiling(body: Tensor, tile: list[int]) -> tuple[Tensor, list[int]]:
    """First voxel of the tiles that cover the body, and how many they are along each axis."""
    inside = torch.nonzero(body)
    first, last = inside.amin(dim=0), inside.amax(dim=0)
    return first, [-(-int(length) // size) for length, size in zip(last - first + 1, tile, strict=True)]


def _starts(body: Tensor, origin: Tensor, tile: list[int], counts: list[int]) -> Iterator[Tensor]:
    """Where each tile with a part of the body starts, counted from the origin."""
    for place in product(*map(range, counts)):
        start = torch.tensor([index * size for index, size in zip(place, tile, strict=True)])
        if body[_box((origin + start).tolist(), tile)].any():
            yield start


def _box(start: list[int], size: list[int] | torch.Size) -> tuple[slice, ...]:
    return tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
