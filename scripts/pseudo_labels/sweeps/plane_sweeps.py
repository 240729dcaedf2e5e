"""Sweeps along all axes in turn until nothing changes, seed sets shared among threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import repeat

import torch

from scripts.common.sharing.one_thread import allowed_threads, one_thread
from scripts.pseudo_labels.sweeps.axis_sweeps import FramedImage, axis_sweeps, framed_image

MOST_THREADS = 4  # each works out the costs of edges for itself


def swept_distance(
    image: torch.Tensor,
    seeds: torch.Tensor,
    spacing_mm: tuple[float, ...],
    lam: float,
    max_iterations: int,
    truncation: float | None,
    tolerance: float,
    kept_costs_bytes: int,
) -> torch.Tensor:
    """(K, X, Y, Z): relax plane after plane along each axis, both ways, until a whole round changes nothing.

    Threads share the seed sets. All sets end together, so that the number of threads changes no distance. The arguments
    are those of `geodesic_distance`: (C, X, Y, Z) intensities, (K, X, Y, Z) seed sets, none of them empty.
    """
    threads = min(allowed_threads(), MOST_THREADS) if image.device.type == "cpu" else 1
    shares = seeds.tensor_split(min(threads, len(seeds)))
    limit = torch.inf if truncation is None else truncation
    kept_bytes = kept_costs_bytes // (3 * len(shares))
    images = [framed_image(image, spacing_mm, axis, lam) for axis in range(3)]
    # A plane is too little work for more than one thread, and waiting for each other costs far more.
    with one_thread(), ThreadPoolExecutor(len(shares)) if len(shares) > 1 else nullcontext() as pool:
        swept = [_SweptSeeds(images, share, kept_bytes, limit, tolerance) for share in shares]
        quiet = 0
        for step in range(3 * max_iterations):
            changed = [*(map if pool is None else pool.map)(_SweptSeeds.sweep, swept, repeat(step % 3))]
            quiet = 0 if any(changed) else quiet + 1
            if quiet == 3:
                break
    return torch.cat([share.distance for share in swept])


class _SweptSeeds:
    """Distances (K, X, Y, Z) from the seed sets of one thread."""

    def __init__(
        self,
        images: Sequence[FramedImage],
        seeds: torch.Tensor,
        kept_bytes: int,
        limit: float,
        tolerance: float,
    ) -> None:
        self.axes = [axis_sweeps(image, len(seeds), kept_bytes) for image in images]
        self.distance = torch.full(seeds.shape, torch.inf, device=seeds.device).masked_fill_(seeds, 0.0)
        self.limit, self.tolerance, self.fell_at = limit, tolerance, 0

    def sweep(self, axis: int) -> bool:
        """Along one axis, both ways; whether a distance below the limit fell by more than the tolerance."""
        with torch.inference_mode(self.distance.is_inference()):  # of the caller's thread; each has its own
            before, self.distance = self.distance, self.axes[axis].sweep(self.distance)
            found = _changed(before, self.distance, self.limit, self.tolerance, self.fell_at)
        self.fell_at = found or 0
        return found is not None


def _changed(before: torch.Tensor, after: torch.Tensor, limit: float, tolerance: float, first: int) -> int | None:
    """Where along X a distance below the limit fell by more than the tolerance, looked for from `first` on; or None.

    Where distances fell in one sweep they mostly do in the next one, and a slice says so.
    """
    size = before.shape[1]
    for x in (*range(first, size), *range(first)):
        if bool((after[:, x] < before[:, x].clamp(max=limit) - tolerance).any()):
            return x
    return None
