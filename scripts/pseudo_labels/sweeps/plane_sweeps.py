"""Sweeps along all axes in turn until nothing changes, seed sets shared among threads."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scripts.common.sharing.one_thread import one_thread
from scripts.common.sharing.threads import in_threads, most_at_once
from scripts.pseudo_labels.sweeps.axis_sweeps import FramedImage, axis_sweeps, framed_image


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

    Threads share the seed sets. Each set ends by itself, so that neither the number of threads nor another set changes
    a distance. The arguments are those of `geodesic_distance`: (C, X, Y, Z) intensities, (K, X, Y, Z) seed sets, none
    of them empty.
    """
    threads = most_at_once() if image.device.type == "cpu" else 1
    shares = seeds.tensor_split(min(threads, len(seeds)))
    limit = torch.inf if truncation is None else truncation
    kept_bytes = kept_costs_bytes // (3 * len(shares))
    images = [framed_image(image, spacing_mm, axis, lam) for axis in range(3)]
    # A plane is too little work for more than one thread, and waiting for each other costs far more.
    with one_thread():
        swept = [_SweptSeeds(images, share, kept_bytes, limit, tolerance) for share in shares]
        return torch.cat(in_threads(lambda share: share.run(3 * max_iterations), swept))


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
        self.limit, self.tolerance = limit, tolerance
        self.moving = [_MovingSet(number) for number in range(len(seeds))]

    def run(self, most_sweeps: int) -> torch.Tensor:
        """Sweep along one axis after the other until every set has ended; the distances."""
        with torch.inference_mode(self.distance.is_inference()):  # of the caller's thread; each has its own
            distance = self.distance.clone()
            for step in range(most_sweeps):
                if not self.moving:
                    break
                distance = self._sweep(step % 3, distance)
            for one, found in zip(self.moving, distance, strict=True):
                self.distance[one.number] = found
        return self.distance

    def _sweep(self, axis: int, before: torch.Tensor) -> torch.Tensor:
        """Along one axis, both ways; the distances of the sets that still move."""
        after = self.axes[axis].sweep(before)
        for one, old, new in zip(self.moving, before, after, strict=True):
            found = _changed(old, new, self.limit, self.tolerance, one.fell_at)
            one.fell_at, one.quiet = found or 0, 0 if found is not None else one.quiet + 1
            if one.has_ended:
                self.distance[one.number] = new
        left = [index for index, one in enumerate(self.moving) if not one.has_ended]
        if len(left) < len(self.moving):
            self.moving = [self.moving[index] for index in left]
            after = after[left]
            self.axes = [sweeps.of_fewer(len(left)) for sweeps in self.axes]
        return after


class _MovingSet:
    """A seed set of which distances still fall.

    Attributes:
        number: of the set.
        quiet: sweeps in a row in which none fell by more than the tolerance.
        fell_at: where along X one did, in the last sweep.
    """

    def __init__(self, number: int) -> None:
        self.number, self.quiet, self.fell_at = number, 0, 0

    @property
    def has_ended(self) -> bool:
        """Whether a sweep along each axis changed nothing."""
        return self.quiet == 3


def _changed(before: torch.Tensor, after: torch.Tensor, limit: float, tolerance: float, first: int) -> int | None:
    """Where along X a distance below the limit fell by more than the tolerance, looked for from `first` on; or None.

    Where distances fell in one sweep they mostly do in the next one, and a slice says so.
    """
    size = before.shape[0]
    for x in (*range(first, size), *range(first)):
        if bool((after[x] < before[x].clamp(max=limit) - tolerance).any()):
            return x
    return None
