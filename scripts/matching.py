"""Which place of one body is which place of another: dense embeddings, cycles, a smooth map, and a search around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.dense_embedding import DenseEmbedding
from scripts.smooth_map import SmoothMap, fit_smooth_map

CHUNK = 256  # points compared with all candidates at once


@dataclass(frozen=True)
class MatchingSettings:
    """How bodies are matched.

    Attributes:
        body_points: random body points matched both ways for the smooth map.
        cycle_mm: they count if the way there and back ends within this distance.
        prior_mm: standard deviation of the Gaussian prior around the smooth map.
        temperature: of the similarity against the prior; the one the embedding was trained with.
        far_mm: from the best match on, another counts as a distant rival.
        seed: of the random body points.
    """

    body_points: int = 2500
    cycle_mm: float = 24.0
    prior_mm: float = 30.0
    temperature: float = 0.1
    far_mm: float = 40.0
    seed: int = 0


@dataclass(frozen=True)
class Body:
    """A volume as matching sees it: the fine cells inside the body.

    Attributes:
        embedding: of the volume.
        places_mm: (M, 3) voxel times spacing.
        vectors: (M, D) joined embeddings.
        spacing_mm: (3,).
    """

    embedding: DenseEmbedding
    places_mm: Tensor
    vectors: Tensor
    spacing_mm: Tensor

    def at(self, places_mm: Tensor) -> Tensor:
        """Joined embeddings at (N, 3) places in mm."""
        return self.embedding.at(places_mm / self.spacing_mm)


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


def body_of(embedding: DenseEmbedding, body: Tensor, spacing_mm: np.ndarray) -> Body:
    """Keep the fine cells whose centre voxel lies in the (X, Y, Z) body mask."""
    centres = embedding.cell_centres("fine").reshape(-1, 3)
    voxels = centres.floor().long()
    limits = torch.tensor(body.shape, device=voxels.device)
    inside = (voxels < limits).all(dim=1)
    inside[inside.clone()] = body.to(voxels.device)[tuple(voxels[inside].T)] > 0
    spacing = torch.as_tensor(spacing_mm, dtype=torch.float32, device=centres.device)
    return Body(embedding, centres[inside] * spacing, embedding.at(centres[inside]), spacing)


def nearest_matches(
    vectors: Tensor, target: Body, settings: MatchingSettings, expected_mm: Tensor | None = None
) -> Matches:
    """The most similar place of `target` for each of (N, D) vectors, near `expected_mm` (N, 3) if that is given."""
    places, similarity, margin = [], [], []
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ target.vectors.T
        score = cosines
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


def map_between(source: Body, target: Body, settings: MatchingSettings) -> tuple[SmoothMap, float]:
    """Smooth map from `source` to `target`, and the share of body points that found their way back.

    Raises:
        ValueError: fewer than 4 points came back.
    """
    generator = np.random.default_rng(settings.seed)
    count = min(settings.body_points, len(source.places_mm))
    chosen = torch.as_tensor(generator.choice(len(source.places_mm), count, replace=False))
    places = source.places_mm[chosen]
    there = nearest_matches(source.vectors[chosen], target, settings)
    vectors_there = target.at(torch.as_tensor(there.places_mm, device=places.device))
    back = nearest_matches(vectors_there, source, settings)
    distance_mm = np.linalg.norm(back.places_mm - places.cpu().numpy(), axis=1)
    returned = distance_mm <= settings.cycle_mm
    return fit_smooth_map(places.cpu().numpy()[returned], there.places_mm[returned]), float(returned.mean())


def locate(
    source: Body, places_mm: np.ndarray, target: Body, to_target: SmoothMap, settings: MatchingSettings
) -> Matches:
    """Where (N, 3) places of `source` lie in `target`: the most similar place around the smooth map's."""
    vectors = source.at(torch.as_tensor(places_mm, dtype=torch.float32, device=source.places_mm.device))
    expected = torch.as_tensor(to_target(places_mm), dtype=torch.float32)
    return nearest_matches(vectors, target, settings, expected)
