"""Which place of one body is which of another: nearest embeddings both ways, an affine map, and a search around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.registration.body import Body
from scripts.registration.most_similar import most_similar
from scripts.registration.robust_affine import AffineMap, RobustFit, TooFewMatchesError, fit_affine_map

CHUNK = 64  # points compared with all candidates at once; more would not stay in the cache
NO_RIVAL = 2.0  # margin of a match in a body too small for a distant rival: the highest similarity


@dataclass(frozen=True)
class MatchingSettings:
    """How bodies are matched.

    Attributes:
        body_points: random points of each body, matched both ways.
        match_cycle_mm: a match counts for the affine map if, matched back, it ends within this distance, in mm.
        match_scale_mm: matches off by more than this, in mm, weigh little in the last rounds of the affine fit.
        match_first_scale_mm: matches off by more weigh little in the first round, in mm; wide: bodies differ in size.
        match_scale_decay: factor by which that distance shrinks from round to round, down to the last one.
        match_rounds: rounds of weighted least squares in the affine fit.
        match_prior_mm: standard deviation, in mm, of the Gaussian prior around the affine map when a point is located.
        match_temperature: temperature of the similarity against that prior; the one the embedding was trained with.
        far_mm: distance from the best match, in mm, from which on another counts as a distant rival.
        seed: seed of the random body points.
    """

    body_points: int = 1200
    match_cycle_mm: float = 24.0
    match_scale_mm: float = 30.0
    match_first_scale_mm: float = 120.0
    match_scale_decay: float = 0.8
    match_rounds: int = 30
    match_prior_mm: float = 30.0
    match_temperature: float = 0.1
    far_mm: float = 40.0
    seed: int = 0

    @property
    def fit(self) -> RobustFit:
        """Of the affine map."""
        return RobustFit(self.match_scale_mm, self.match_first_scale_mm, self.match_scale_decay, self.match_rounds)


@dataclass(frozen=True)
class Matches:
    """Places of another body that match N points.

    Attributes:
        places_mm: (N, 3).
        similarity: (N,) sum of the cosines of both levels, at most 2.
        margin: (N,) similarity minus that of the best rival farther than `far_mm` away.
    """

    places_mm: np.ndarray
    similarity: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True)
class BodyMaps:
    """How two bodies correspond.

    Attributes:
        forward, backward: affine maps from the first to the second body and back.
        similarity: mean cosine of body points and where the map puts them, per level at most 1: how alike the bodies
            are, once brought together.
    """

    forward: AffineMap
    backward: AffineMap
    similarity: float


def nearest_cells(vectors: Tensor, target: Body) -> Tensor:
    """The most similar cell of `target` for each of (N, D) vectors, (N,) indices.

    Every other cell along each axis is compared, then the neighbours of the best: an eighth of the work, and
    embeddings change slowly from cell to cell.
    """
    sparse = target.vectors[target.sparse].T
    best = target.sparse[torch.cat([most_similar(part @ sparse) for part in vectors.split(CHUNK)])]
    around = target.around(best)
    closest = most_similar(torch.einsum("nd,nkd->nk", vectors, target.vectors[around]))
    return around.gather(1, closest[:, None])[:, 0]


def nearest_matches(
    vectors: Tensor, target: Body, settings: MatchingSettings, expected_mm: Tensor | None = None
) -> Matches:
    """The most similar place of `target` for each of (N, D) vectors, near `expected_mm` (N, 3) if that is given."""
    places, similarity, margin = [], [], []
    for start in range(0, len(vectors), CHUNK):
        score = cosines = vectors[start : start + CHUNK] @ target.vectors.T
        if expected_mm is not None:
            distance_mm = torch.cdist(expected_mm[start : start + CHUNK].to(target.places_mm), target.places_mm)
            score = cosines - settings.match_temperature * distance_mm**2 / (2 * settings.match_prior_mm**2)
        best = most_similar(score)
        matched_mm = target.places_mm[best]
        far = torch.cdist(matched_mm, target.places_mm) > settings.far_mm
        rival = score.masked_fill(~far, -torch.inf).amax(dim=1)
        places.append(matched_mm)
        similarity.append(torch.gather(cosines, 1, best[:, None])[:, 0])
        margin.append((torch.gather(score, 1, best[:, None])[:, 0] - rival).nan_to_num(posinf=NO_RIVAL))
    joined = (torch.cat(parts).cpu().numpy() for parts in (places, similarity, margin))
    return Matches(*joined)


def maps_between(first: Body, second: Body, settings: MatchingSettings) -> BodyMaps:
    """Affine maps forward and backward, from matches both ways.

    Raises:
        TooFewMatchesError: a body is empty, or of fewer than 4 points the match, matched back, ended near them.
    """
    if not len(first.cells) or not len(second.cells):
        raise TooFewMatchesError("a body without tissue matches nothing")
    generator = np.random.default_rng(settings.seed)
    forward = _cycle_matches(first, second, settings, generator)
    backward = _cycle_matches(second, first, settings, generator)
    places_mm = np.concatenate([forward.places_mm, backward.matched_mm])
    matched_mm = np.concatenate([forward.matched_mm, backward.places_mm])
    weights = np.concatenate([forward.similarity, backward.similarity]).clip(min=0) ** 2
    to_second = fit_affine_map(places_mm, matched_mm, weights, settings.fit)
    to_first = fit_affine_map(matched_mm, places_mm, weights, settings.fit)
    chosen = _drawn(first, settings.body_points, generator)
    mapped = torch.as_tensor(to_second(first.places_mm[chosen].cpu().numpy()), dtype=torch.float32)
    cosines = (first.vectors[chosen] * second.at(mapped.to(first.vectors.device))).sum(dim=1)
    return BodyMaps(to_second, to_first, float(cosines.mean()) / len(first.embedding.levels))


@dataclass(frozen=True)
class _CycleMatches:
    """Random places of one body, (N, 3) mm, their matches in another, (N, 3) mm, and their similarity, (N,)."""

    places_mm: np.ndarray
    matched_mm: np.ndarray
    similarity: np.ndarray


def _cycle_matches(
    source: Body, target: Body, settings: MatchingSettings, generator: np.random.Generator
) -> _CycleMatches:
    """Those whose match, matched back, ends near them."""
    chosen = _drawn(source, settings.body_points, generator)
    places_mm, vectors = source.places_mm[chosen], source.vectors[chosen]
    matched = nearest_cells(vectors, target)
    returned = nearest_cells(target.vectors[matched], source)
    kept = (source.places_mm[returned] - places_mm).norm(dim=1) <= settings.match_cycle_mm
    similarity = (vectors * target.vectors[matched]).sum(dim=1)
    return _CycleMatches(*(part[kept].cpu().numpy() for part in (places_mm, target.places_mm[matched], similarity)))


def _drawn(body: Body, count: int, generator: np.random.Generator) -> Tensor:
    return torch.as_tensor(generator.choice(len(body.cells), min(count, len(body.cells)), replace=False))


def locate(
    source: Body, places_mm: np.ndarray, target: Body, to_target: AffineMap, settings: MatchingSettings
) -> Matches:
    """Where (N, 3) places of `source` lie in `target`: the most similar place around the affine map's."""
    vectors = source.at(torch.as_tensor(places_mm, dtype=torch.float32, device=source.places_mm.device))
    expected = torch.as_tensor(to_target(places_mm), dtype=torch.float32)
    return nearest_matches(vectors, target, settings, expected)
