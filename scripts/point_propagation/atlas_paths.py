"""Points that reach a case by way of other cases: support, atlas, case.

Coordinates measure an organ of the support wrongly by nearly the same vector in every body, and features do not always
mend that. A case in which the organ was found right is another template, which errs in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.point_propagation.propagator import FoundPoints, Propagator, Query, SupportPoints
from scripts.points.denoising import product_of_levels

ROUNDS = 50
NEAREST_MM = 0.5  # nearer than this a path pulls no harder
LEAST_WEIGHT = 1e-3

Scores = Mapping[int, float]  # class value, 0 for background -> mean score of a case's points of the class


@dataclass(frozen=True)
class PointAtlas:
    """A case in which the support's points of a class were located before.

    Attributes:
        points: the class's n points as the networks describe them there.
        scores: (n,) how alike they are to the support's.
    """

    points: SupportPoints
    scores: np.ndarray


def class_scores(labels: np.ndarray, scores: np.ndarray) -> dict[int, float]:
    """Class value -> mean of its points' scores, of (N,) class values and (N,) scores."""
    return {int(value): float(scores[labels == value].mean()) for value in np.unique(labels)}


def atlases_by_class(scores: Mapping[str, Scores], most: int, share: float, case: str | None) -> dict[int, list[str]]:
    """Class value -> the cases whose points of the class look most like the support's, best first.

    Background is no class here: its points lie everywhere, so no case has all of them right or wrong.

    Args:
        scores: case -> what `class_scores` says of it, without the support.
        most: how many for each class.
        share: at most this share of the other cases: the best of few were not chosen.
        case: that points are located in, no atlas of its own; None names the atlases of any case.
    """
    others = [name for name in sorted(scores) if name != case]
    values = sorted({value for of_class in scores.values() for value in of_class} - {0})
    most = min(most, int(share * max(len(scores) - 1, 0)))
    most += most > 0 and case is None  # the atlas of all others is none for itself: the next one comes in
    return {value: sorted(others, key=lambda name: -scores[name].get(value, 0.0))[:most] for value in values}


def find_through(
    propagator: Propagator,
    query: Query,
    support: SupportPoints,
    direct: FoundPoints,
    labels: np.ndarray,
    atlases: Mapping[int, Sequence[PointAtlas]],
    levels: Sequence[str],
    direct_scores: np.ndarray | None = None,
) -> FoundPoints:
    """The support's points in a query, by the direct path and by one for each atlas of their class.

    Each path counts as much as its ends look alike: its atlas's points like the support's, the query's like the
    atlas's.

    Args:
        propagator: with the trained networks.
        query: see `Propagator.look`.
        support: N points.
        direct: where they were found by the direct path.
        labels: (N,) their class values.
        atlases: class value -> its atlases; a class without any keeps the direct path's places.
        levels: whose cosines are multiplied.
        direct_scores: (N,) how alike `direct` looks, see `scores_at`, where that is known already.
    """
    if not any(atlases.values()):
        return direct
    if direct_scores is None:
        direct_scores = scores_at(propagator, query, support, direct.voxels, levels)
    spacing_mm, voxels = torch.tensor(propagator.fine.spacing_mm), direct.voxels.clone()
    for value, of_class in atlases.items():
        members = labels == value
        ends, weights = [direct.voxels[members]], [direct_scores[members]]
        for atlas in of_class:
            ends.append(propagator.find(query, atlas.points).voxels)
            weights.append(scores_at(propagator, query, atlas.points, ends[-1], levels) * atlas.scores)
        if of_class:
            weight = torch.from_numpy(np.stack(weights)).float().clamp(min=LEAST_WEIGHT)
            voxels[members] = geometric_median(torch.stack(ends) * spacing_mm, weight) / spacing_mm
    return FoundPoints(voxels, direct.proposed)


def geometric_median(places_mm: Tensor, weights: Tensor) -> Tensor:
    """The place (N, 3) with the least weighted sum of distances to P others, by Weiszfeld's iteration.

    Args:
        places_mm: (P, N, 3).
        weights: (P, N), above 0.
    """
    middle = places_mm.median(dim=0).values
    for _ in range(ROUNDS):
        pull = weights / (places_mm - middle).norm(dim=-1).clamp(min=NEAREST_MM)
        middle = (places_mm * pull[..., None]).sum(dim=0) / pull.sum(dim=0)[..., None]
    return middle


def scores_at(
    propagator: Propagator, query: Query, support: SupportPoints, voxels: Tensor, levels: Sequence[str]
) -> np.ndarray:
    """(N,) products of cosines of the support's points with as many places (N, 3) of a query."""
    similarities = propagator.similarities(query, support, voxels)
    return product_of_levels({level: similarities[level].double().numpy() for level in levels}, levels)
