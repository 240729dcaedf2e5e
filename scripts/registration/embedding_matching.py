"""Which place of one body is which place of another: dense embeddings, cycles, a smooth map, and a search around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.registration.body import Body
from scripts.registration.robust_affine import AffineMap, fit_affine_map

CHUNK = 512  # points compared with all candidates at once


@dataclass(frozen=True)
class MapRound:
    """One round of fitting the map between two bodies: match around the map so far, keep what returns, fit anew.

    Attributes:
        prior_mm: standard deviation of the Gaussian prior around the map so far; None searches the whole body.
        cycle_mm: a match counts if the way there and back ends within this distance.
        width_mm: how far neighbours reach in the new map; None fits an affine map.
        scale_mm: matches off by more weigh little.
    """

    prior_mm: float | None
    cycle_mm: float
    width_mm: float | None
    scale_mm: float


ROUNDS = (MapRound(None, 24.0, None, 30.0),)
SMOOTH_ROUNDS = (  # bend the map between organs, and bend it wrong where matches are
    *ROUNDS,
    MapRound(60.0, 16.0, 80.0, 25.0),
    MapRound(50.0, 16.0, 60.0, 20.0),
    MapRound(40.0, 16.0, 50.0, 15.0),
    MapRound(30.0, 12.0, 35.0, 12.0),
    MapRound(30.0, 12.0, 30.0, 12.0),
)


@dataclass(frozen=True)
class MatchingSettings:
    """How bodies are matched.

    Attributes:
        body_points: random points of each body, matched both ways in each round.
        rounds: of fitting the smooth map, from coarse to fine.
        prior_mm: standard deviation of the Gaussian prior around the smooth map when a point is located.
        temperature: of the similarity against the prior; the one the embedding was trained with.
        far_mm: from the best match on, another counts as a distant rival.
        seed: of the random body points.
    """

    body_points: int = 1200
    rounds: Sequence[MapRound] = ROUNDS
    prior_mm: float = 30.0
    temperature: float = 0.1
    far_mm: float = 40.0
    seed: int = 0


@dataclass(frozen=True)
class Matches:
    """Places found in the other body for N points.

    Attributes:
        places_mm: (N, 3).
        similarity: (N,) sum of the cosines of both levels, at most 2.
        margin: (N,) similarity minus that of the best rival farther than `far_mm` away.
    """

    places_mm: np.ndarray
    similarity: np.ndarray
    margin: np.ndarray


def nearest_cells(
    vectors: Tensor,
    target: Body,
    expected_mm: Tensor | None = None,
    prior_mm: float = math.inf,
    temperature: float = 0.1,
) -> Tensor:
    """The most similar cell of `target` for each of (N, D) vectors, (N,) indices, near `expected_mm` if given.

    Every other cell along each axis is compared, then the neighbours of the best: an eighth of the work, and
    embeddings change slowly from cell to cell.
    """
    places = target.vectors
    if expected_mm is not None:
        # -k |e - p|^2 = 2k e.p - k |p|^2 - a constant of the point: similarity and prior in one product.
        k = temperature / (2 * prior_mm**2)
        middle = target.places_mm.mean(dim=0)
        centred = target.places_mm - middle
        expected = expected_mm.to(centred) - middle
        vectors = torch.cat([vectors, 2 * k * expected, torch.ones_like(expected[:, :1])], dim=1)
        places = torch.cat([places, centred, -k * centred.square().sum(dim=1, keepdim=True)], dim=1)
    sparse = places[target.sparse].T
    best = target.sparse[torch.cat([(part @ sparse).argmax(dim=1) for part in vectors.split(CHUNK)])]
    around = target.around(best)
    closest = torch.einsum("nd,nkd->nk", vectors, places[around]).argmax(dim=1, keepdim=True)
    return around.gather(1, closest)[:, 0]


def nearest_matches(
    vectors: Tensor, target: Body, settings: MatchingSettings, expected_mm: Tensor | None = None
) -> Matches:
    """The most similar place of `target` for each of (N, D) vectors, near `expected_mm` (N, 3) if that is given."""
    places, similarity, margin = [], [], []
    for start in range(0, len(vectors), CHUNK):
        score = cosines = vectors[start : start + CHUNK] @ target.vectors.T
        if expected_mm is not None:
            distance_mm = torch.cdist(expected_mm[start : start + CHUNK].to(target.places_mm), target.places_mm)
            score = cosines - settings.temperature * distance_mm**2 / (2 * settings.prior_mm**2)
        best = score.argmax(dim=1)
        found = target.places_mm[best]
        far = torch.cdist(found, target.places_mm) > settings.far_mm
        rival = score.masked_fill(~far, -torch.inf).amax(dim=1)
        places.append(found)
        similarity.append(torch.gather(cosines, 1, best[:, None])[:, 0])
        margin.append(torch.gather(score, 1, best[:, None])[:, 0] - rival)
    joined = (torch.cat(parts).cpu().numpy() for parts in (places, similarity, margin))
    return Matches(*joined)


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


def maps_between(first: Body, second: Body, settings: MatchingSettings) -> BodyMaps:
    """Smooth maps there and back, from matches both ways.

    Raises:
        ValueError: fewer than 4 points came back.
    """
    generator = np.random.default_rng(settings.seed)
    forward = backward = None
    for number, step in enumerate(settings.rounds):
        there = _returning(first, second, forward, backward, step, settings, generator)
        here = _returning(second, first, backward, forward, step, settings, generator)
        places, matched = np.concatenate([there[0], here[1]]), np.concatenate([there[1], here[0]])
        weights = np.concatenate([there[2], here[2]]).clip(min=0) ** 2
        try:
            forward = fit_affine_map(places, matched, weights, step.width_mm, step.scale_mm)
            backward = fit_affine_map(matched, places, weights, step.width_mm, step.scale_mm)
        except ValueError as error:
            raise ValueError(f"round {number + 1} of the map between two bodies: {error}") from error
    chosen = _drawn(first, settings.body_points, generator)
    mapped = torch.as_tensor(forward(first.places_mm[chosen].cpu().numpy()), dtype=torch.float32)
    cosines = (first.vectors[chosen] * second.at(mapped.to(first.vectors.device))).sum(dim=1)
    return BodyMaps(forward, backward, float(cosines.mean()) / len(first.embedding.levels))


def _returning(
    source: Body,
    target: Body,
    forward: AffineMap | None,
    backward: AffineMap | None,
    step: MapRound,
    settings: MatchingSettings,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random places of `source` that find their way back, (N, 3) mm, their matches, (N, 3), and similarities, (N,)."""
    chosen = _drawn(source, settings.body_points, generator)
    places, vectors = source.places_mm[chosen], source.vectors[chosen]

    def nearest(found: Tensor, body: Body, guide: AffineMap | None, at: Tensor) -> Tensor:
        if guide is None or step.prior_mm is None:
            return nearest_cells(found, body)
        expected = torch.as_tensor(guide(at.cpu().numpy()), dtype=torch.float32)
        return nearest_cells(found, body, expected, step.prior_mm, settings.temperature)

    there = nearest(vectors, target, forward, places)
    returned = nearest(target.vectors[there], source, backward, target.places_mm[there])
    kept = (source.places_mm[returned] - places).norm(dim=1) <= step.cycle_mm
    similarity = (vectors * target.vectors[there]).sum(dim=1)
    return tuple(part[kept].cpu().numpy() for part in (places, target.places_mm[there], similarity))


def _drawn(body: Body, count: int, generator: np.random.Generator) -> Tensor:
    return torch.as_tensor(generator.choice(len(body.places_mm), min(count, len(body.places_mm)), replace=False))


def locate(
    source: Body, places_mm: np.ndarray, target: Body, to_target: AffineMap, settings: MatchingSettings
) -> Matches:
    """Where (N, 3) places of `source` lie in `target`: the most similar place around the smooth map's."""
    vectors = source.at(torch.as_tensor(places_mm, dtype=torch.float32, device=source.places_mm.device))
    expected = torch.as_tensor(to_target(places_mm), dtype=torch.float32)
    return nearest_matches(vectors, target, settings, expected)
