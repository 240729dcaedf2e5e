"""Feature denoising: a located point is kept only if its features agree with the support point's.

`dual` is the paper's dual-level feature denoising (section 2.2), `multi` the multi-level one of its later version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SIMILARITY = "similarity"
COLLISION = "collision"
KEPT = ""


@dataclass(frozen=True)
class DenoisingRule:
    """Levels whose cosines are multiplied, and the threshold tau the product must exceed."""

    name: str
    levels: tuple[str, ...]
    tau: float


RULES = {
    "dual": DenoisingRule("dual", ("m2", "m4"), 0.5),
    "multi": DenoisingRule("multi", ("m1", "m2", "m3", "m4"), 0.1),
}


def denoising_rule(name: str, tau: float | None = None) -> DenoisingRule:
    """The rule of that name, with another threshold if `tau` is given.

    Raises:
        ValueError: unknown rule.
    """
    if name not in RULES:
        raise ValueError(f"unknown denoising rule {name!r}, expected one of {sorted(RULES)}")
    rule = RULES[name]
    return rule if tau is None else DenoisingRule(rule.name, rule.levels, float(tau))


def cosine_similarities(support: Mapping[str, Tensor], query: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosine per level between two sets of features, {level: (N, channels)} each; result {level: (N,)}."""
    return {level: torch.cosine_similarity(support[level], query[level], dim=1) for level in support}


def product_of_levels(similarities: Mapping[str, np.ndarray], levels: Sequence[str]) -> np.ndarray:
    """Score of each point: the product of its cosines over `levels`, (N,)."""
    return np.prod([np.asarray(similarities[level], dtype=float) for level in levels], axis=0)


def denoise(labels: np.ndarray, voxels: np.ndarray, scores: np.ndarray, tau: float) -> list[str]:
    """Why each point is dropped, or "" for a kept one.

    Background points (label 0) pass the same threshold. Where points of several classes share a voxel, foreground is
    never erased by background, and among foreground classes the highest score stays.

    Args:
        labels: (N,) class values, 0 for background.
        voxels: (N, 3) integer working voxels.
        scores: (N,) products of cosines.
        tau: a point is kept if its score exceeds it; 0 switches the threshold off.
    """
    passed = scores > tau if tau > 0 else np.ones(len(scores), dtype=bool)
    reasons = np.where(passed, KEPT, SIMILARITY).tolist()
    owner: dict[tuple[int, ...], int] = {}
    # The strongest claim on a voxel comes first: foreground before background, then the higher score.
    for point in sorted(np.flatnonzero(passed), key=lambda n: (labels[n] == 0, -scores[n], n)):
        first = owner.setdefault(tuple(int(v) for v in voxels[point]), point)
        if labels[first] != labels[point]:
            reasons[point] = COLLISION
    return reasons


def classes_not_located(classes: Mapping[str, int], labels: np.ndarray, reasons: Sequence[str]) -> list[str]:
    """Names of the classes of which no point was kept."""
    kept = {int(label) for label, reason in zip(labels, reasons, strict=True) if reason == KEPT}
    return [name for name, value in classes.items() if value not in kept]
