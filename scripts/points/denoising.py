"""Feature denoising: a located point is kept only if its features agree with the support point's.

`dual` is the paper's dual-level feature denoising (section 2.2), `multi` the multi-level one of its later version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scripts.data.records import KEPT

SIMILARITY = "similarity"
TISSUE = "tissue"
COLLISION = "collision"
CYCLE = "cycle"


@dataclass(frozen=True)
class DenoisingRule:
    """Levels whose cosines are multiplied, and the threshold tau the product must exceed.

    `tissue_tolerance` adds the tissue check: how far, in normalised intensity (0.08 is 40 HU in soft tissue), a point
    may lie outside the range of its class's strokes; None, the paper's way, checks no tissue. `point_cycle_mm` is how
    far from its support point the way back may end, where a feature search made one; None checks no way back.
    """

    name: str
    levels: tuple[str, ...]
    tau: float
    tissue_tolerance: float | None = None
    point_cycle_mm: float | None = None


RULES = {
    "dual": DenoisingRule("dual", ("m2", "m4"), 0.5),
    "multi": DenoisingRule("multi", ("m1", "m2", "m3", "m4"), 0.1),
}


def denoising_rule(
    name: str,
    tau: float | None = None,
    tissue_tolerance: float | None = None,
    point_cycle_mm: float | None = None,
) -> DenoisingRule:
    """The rule of that name, with another threshold if `tau` is given, and with each check whose tolerance is.

    Args:
        name: "dual", the paper's (levels m2 and m4), or "multi", of its later version (m1 to m4).
        tau: what the product of a point's cosines must exceed, at most 1; None is the rule's own, 0 keeps every point.
        tissue_tolerance: how far, in intensity from 0 to 1 (0.08 is 40 HU of soft tissue), a point may lie outside the
            range of its class's strokes; None checks no tissue.
        point_cycle_mm: how far, in mm, a point may come back from its support point; None checks no way back.

    Raises:
        ValueError: unknown rule.
    """
    if name not in RULES:
        raise ValueError(f"unknown denoising rule {name!r}, expected one of {sorted(RULES)}")
    rule = RULES[name]
    tau = rule.tau if tau is None else float(tau)
    return replace(rule, tau=tau, tissue_tolerance=tissue_tolerance, point_cycle_mm=point_cycle_mm)


def cosine_similarities(support: Mapping[str, Tensor], query: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosine per level between two sets of features, {level: (N, channels)} each; result {level: (N,)}."""
    return {level: torch.cosine_similarity(support[level], query[level], dim=1) for level in support}


def product_of_levels(similarities: Mapping[str, np.ndarray], levels: Sequence[str]) -> np.ndarray:
    """Score of each point: the product of its cosines over `levels`, (N,)."""
    return np.prod([np.asarray(similarities[level], dtype=float) for level in levels], axis=0)


def denoise(
    labels: np.ndarray,
    voxels: np.ndarray,
    scores: np.ndarray,
    misfits: np.ndarray,
    rule: DenoisingRule,
    cycle_mm: np.ndarray | None = None,
) -> list[str]:
    """Why each point is dropped, or "" for a kept one.

    Background points (label 0) pass the same threshold; see `collisions` for points that share a voxel.

    Args:
        labels: (N,) class values, 0 for background.
        voxels: (N, 3) integer working voxels.
        scores: (N,) products of cosines.
        misfits: (N,) of the tissue check (see `tissue_misfits`).
        rule: a point is kept if its score exceeds tau, where 0 switches the threshold off, and if its misfit and its
            way back are within the rule's tolerances.
        cycle_mm: (N,) how far from their support points the ways back end; None where nothing was sought back.
    """
    reasons = np.full(len(scores), KEPT, dtype=object)
    if rule.tissue_tolerance is not None:
        reasons[~(misfits <= rule.tissue_tolerance)] = TISSUE
    if rule.point_cycle_mm is not None and cycle_mm is not None:
        reasons[~(cycle_mm <= rule.point_cycle_mm)] = CYCLE
    if rule.tau > 0:
        reasons[~(scores > rule.tau)] = SIMILARITY
    reasons[collisions(labels, voxels, scores, reasons == KEPT)] = COLLISION
    return reasons.tolist()


def collisions(labels: np.ndarray, voxels: np.ndarray, scores: np.ndarray, passed: np.ndarray) -> np.ndarray:
    """Which of the points that `passed` lose their voxel to a point of another class, (N,) bool.

    Foreground is never erased by background, and among foreground classes the highest score stays.
    """
    lost = np.zeros(len(labels), dtype=bool)
    owner: dict[tuple[int, ...], int] = {}
    # The strongest claim on a voxel comes first: foreground before background, then the higher score.
    for point in sorted(np.flatnonzero(passed).tolist(), key=lambda n: (labels[n] == 0, -scores[n], n)):
        first = owner.setdefault(tuple(int(v) for v in voxels[point]), point)
        lost[point] = labels[first] != labels[point]
    return lost
