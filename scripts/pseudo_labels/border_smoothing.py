"""Borders without fingers: a geodesic path follows every grain of noise, an organ's surface does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.common.boxes import box_of
from scripts.common.sharing.threads import in_threads


def smoothed_shares(
    label: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], width_mm: float, depth_share: float
) -> np.ndarray:
    """Share of each class around each voxel, (K + 1, X, Y, Z) float32 in [0, 1], background first.

    Where the highest share wins, fingers and notches are gone and flat borders have not moved; a ball of radius r loses
    about `width ** 2 / r` of it. The width is at most `depth_share` of a class's greatest depth, and the shallowest
    class has its share first, so that thin organs stay, inside others too. Seeds keep their class.

    Args:
        label: (X, Y, Z) class indices, 0 background.
        seeds: (K + 1, X, Y, Z) bool, background first.
        spacing_mm: voxel size along X, Y, Z.
        width_mm: standard deviation of the Gaussian in which shares are counted.
        depth_share: see above.
    """
    shares = np.zeros(seeds.shape, dtype=np.float32)
    shares[0] = 1.0
    margins = [int(np.ceil(4 * width_mm / step)) + 1 for step in spacing_mm]  # all that a Gaussian spreads
    boxes = {channel: box_of(label == channel, margins) for channel in range(1, len(seeds))}
    masks = {channel: label[box] == channel for channel, box in boxes.items() if box is not None}

    def around(channel: int) -> tuple[float, np.ndarray]:
        depth_mm = float(ndimage.distance_transform_edt(masks[channel], sampling=spacing_mm).max())
        width = [min(width_mm, depth_share * depth_mm) / step for step in spacing_mm]
        return depth_mm, ndimage.gaussian_filter(masks[channel].astype(np.float32), width, mode="nearest")

    found = dict(zip(masks, in_threads(around, masks), strict=True))
    for channel in sorted(found, key=lambda channel: found[channel][0]):
        left = shares[0][boxes[channel]]
        np.minimum(found[channel][1], left, out=shares[channel][boxes[channel]])
        left -= shares[channel][boxes[channel]]
    for channel, seed in enumerate(seeds):
        shares[:, seed] = 0.0
        shares[channel][seed] = 1.0
    return shares
