"""Distances of the last look, for a process that is asked again with some of the strokes changed."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import torch

Solver = Callable[[torch.Tensor], torch.Tensor]  # (K, X, Y, Z) seed sets -> distances, each set for itself


class RememberedDistances:
    """Keeps the distances of one call, in memory: the machine's, not the GPU's, which trainings want.

    Args:
        most_bytes: above that nothing is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.known: dict[bytes, torch.Tensor] = {}

    def solve(
        self, image: torch.Tensor, seeds: torch.Tensor, settings: tuple[Any, ...], solver: Solver
    ) -> torch.Tensor:
        """What `solver` would say of all seed sets, which it is asked only of those that the last call did not have.

        Args:
            image: the intensities.
            seeds: (K, X, Y, Z) seed sets.
            settings: what else distances depend on.
            solver: see `Solver`.
        """
        shared = _digest(image) + repr(settings).encode()
        keys = [_digest(seed) + shared for seed in seeds]
        new = [number for number, key in enumerate(keys) if key not in self.known]
        found = dict(zip(new, solver(seeds[new]) if new else (), strict=True))
        distances = [
            found[number] if number in found else self.known[key].to(seeds.device) for number, key in enumerate(keys)
        ]
        result = torch.stack(distances)
        fits = result.nbytes <= self.most_bytes
        self.known = dict(zip(keys, result.to("cpu", copy=True), strict=True)) if fits else {}
        return result


def _digest(values: torch.Tensor) -> bytes:
    array = values.detach().cpu().contiguous().numpy()
    return blake2b(array, digest_size=16).digest() + str(array.shape).encode()


_remembered: RememberedDistances | None = None


def remember_distances(most_bytes: int) -> None:
    """From now on this process keeps the distances of its last call; see `RememberedDistances`."""
    global _remembered
    _remembered = RememberedDistances(most_bytes)


def remembered() -> RememberedDistances | None:
    """What this process keeps; None where it keeps nothing."""
    return _remembered
