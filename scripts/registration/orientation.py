"""Is a body turned by 180 degrees, or mirrored, against another one? That one is turned in every way and matched.

The embedding network never saw a turned body, but what it makes of two that are turned alike is alike: of all the ways
to turn the one, that of the other fits best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import TrainedEmbedding
from scripts.registration.body import Body, embed_body
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.most_similar import most_similar
from scripts.registration.robust_affine import LEAST_MATCHES, AffineMap, fit_affine_map

AS_IT_IS = "as it is"
# Words -> axes of the RAS+ working grid that are reversed, the likeliest first. Two axes at once make a turn, one or
# three a mirror image.
ORIENTATIONS: dict[str, tuple[int, ...]] = {
    AS_IT_IS: (),
    "turned by 180 degrees about the feet-head axis": (0, 1),
    "turned by 180 degrees about the back-front axis": (0, 2),
    "turned by 180 degrees about the left-right axis": (1, 2),
    "mirrored left to right": (0,),
    "mirrored back to front": (1,),
    "mirrored feet to head": (2,),
    "mirrored along all three axes": (0, 1, 2),
}


@dataclass(frozen=True)
class OrientationSettings:
    """How a turned body is recognised.

    Attributes:
        landmarks: random cells of each body that are matched.
        least_gain: a body is turned if, turned, it fits more than so many times as well as it does as it is.
        least_difference: a body is turned if, turned, its fit is also better by more than this: where nothing fits
            well, as with a network that hardly learned, some orientation always fits a little better.
    """

    landmarks: int = 3000
    least_gain: float = 1.2
    least_difference: float = 0.06


@dataclass(frozen=True)
class Landmarks:
    """Random cells of a body: (N, 3) places in mm of the working grid, (N, F + G) joined embeddings."""

    places_mm: Tensor
    vectors: Tensor


def reversed_along(volume: CachedVolume, axes: tuple[int, ...]) -> CachedVolume:
    """The volume as another orientation in its header would show it; the affine stays."""
    image_axes = [axis + 1 for axis in axes]
    return CachedVolume(volume.image.flip(image_axes), volume.body.flip(axes), volume.affine)


def draw_landmarks(body: Body, count: int, seed: int = 0) -> Landmarks:
    """At most `count` random cells."""
    generator = np.random.default_rng(seed)
    chosen = torch.as_tensor(generator.choice(len(body.cells), min(count, len(body.cells)), replace=False))
    return Landmarks(body.places_mm[chosen], body.vectors[chosen])


def landmarks_by_orientation(
    trained: TrainedEmbedding,
    volume: CachedVolume,
    body: Body,
    windows: WindowSettings,
    settings: OrientationSettings,
) -> dict[str, Landmarks]:
    """Words of `ORIENTATIONS` -> landmarks of a body, turned like that: the same places of it every time.

    Args:
        trained: the network.
        volume: at its spacing.
        body: of the volume, as it is.
        windows: see `WindowSettings`.
        settings: see `OrientationSettings`.
    """
    own = draw_landmarks(body, settings.landmarks)
    return {words: landmarks_turned(words, trained, volume, own, windows) for words in ORIENTATIONS}


def landmarks_turned(
    words: str, trained: TrainedEmbedding, volume: CachedVolume, own: Landmarks, windows: WindowSettings
) -> Landmarks:
    """Landmarks of a body, turned in one way; `own`: of the body as it is. See `landmarks_by_orientation`."""
    if words == AS_IT_IS:
        return own
    axes = ORIENTATIONS[words]
    last_mm = (torch.tensor(volume.body.shape) - 1) * torch.tensor(trained.spacing_mm)
    reversed_axes = torch.tensor([axis in axes for axis in range(3)], device=own.places_mm.device)
    places_mm = torch.where(reversed_axes, last_mm.to(own.places_mm) - own.places_mm, own.places_mm)
    other = embed_body(trained, reversed_along(volume, axes), windows)
    return Landmarks(places_mm, other.at(places_mm))


def affine_fits(
    orientations: Mapping[str, Landmarks], body: Body, matching: MatchingSettings, settings: OrientationSettings
) -> dict[str, float]:
    """Words -> `affine_fit` of a body with another one that is turned like that.

    Args:
        orientations: of the other body, see `landmarks_by_orientation`.
        body: as it is.
        matching: see `affine_fit`.
        settings: see `OrientationSettings`.
    """
    own = draw_landmarks(body, settings.landmarks)
    return {words: affine_fit(other, own, matching) for words, other in orientations.items()}


@dataclass(frozen=True)
class MatchedLandmarks:
    """Landmarks of two bodies whose match, matched back, ends near them.

    Attributes:
        places_mm, matched_mm: (M, 3) of the first body and of the second.
        weights: (M,) similarities, squared.
        count: of all landmarks of both bodies.
    """

    places_mm: np.ndarray
    matched_mm: np.ndarray
    weights: np.ndarray
    count: int

    def quality(self, to_second: AffineMap, scale_mm: float) -> float:
        """Mean weight of all landmarks in the fit of a map; one without a match has none."""
        distance_mm = np.linalg.norm(self.matched_mm - to_second(self.places_mm), axis=1)
        cauchy = 1 / (1 + (distance_mm / scale_mm) ** 2)
        return float((self.weights * cauchy).sum()) / self.count


def match_landmarks(first: Landmarks, second: Landmarks, matching: MatchingSettings) -> MatchedLandmarks:
    """The most similar landmark of the other body, both ways; kept where the way back ends near the start."""
    if not len(first.places_mm) or not len(second.places_mm):
        return MatchedLandmarks(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), 1)
    cosines = first.vectors @ second.vectors.T
    there, back = most_similar(cosines), most_similar(cosines.T.contiguous())
    returned = _near(first.places_mm, back[there], matching), _near(second.places_mm, there[back], matching)
    own, other = (torch.arange(len(matches), device=matches.device) for matches in (there, back))
    of_first = torch.cat([own[returned[0]], back[returned[1]]])
    of_second = torch.cat([there[returned[0]], other[returned[1]]])
    return MatchedLandmarks(
        first.places_mm[of_first].cpu().numpy(),
        second.places_mm[of_second].cpu().numpy(),
        cosines[of_first, of_second].clamp(min=0).cpu().numpy() ** 2,
        len(there) + len(back),
    )


def affine_fit(first: Landmarks, second: Landmarks, matching: MatchingSettings) -> float:
    """How well an affine map brings two bodies together: the mean weight of both bodies' landmarks in the map's fit.

    A landmark whose match, matched back, ends elsewhere has none. The weight grows with the similarity of the match,
    squared, and shrinks with its distance from where the map puts it.

    Args:
        first: of one body.
        second: of another.
        matching: `match_cycle_mm` and the scales of the fit.
    """
    matched = match_landmarks(first, second, matching)
    if len(matched.weights) < LEAST_MATCHES:
        return 0.0
    to_second = fit_affine_map(matched.places_mm, matched.matched_mm, matched.weights, matching.fit)
    return matched.quality(to_second, matching.match_scale_mm)


def _near(places_mm: Tensor, returned: Tensor, matching: MatchingSettings) -> Tensor:
    """Which of (N, 3) places end near themselves, (N,) bool; `returned`: (N,) where each of them ends."""
    return (places_mm[returned] - places_mm).norm(dim=1) <= matching.match_cycle_mm


def turned(fits: Mapping[str, float], settings: OrientationSettings) -> str | None:
    """How a body is turned; None where no orientation fits so much better than it does as it is.

    Of several that fit nearly alike, as those of a symmetric body do, turns come before mirror images.

    Args:
        fits: see `affine_fits`.
        settings: `least_gain` and `least_difference` count.
    """
    best = max(fits.values())
    found = next(words for words in ORIENTATIONS if settings.least_gain * fits[words] >= best)
    return None if best - fits[AS_IT_IS] <= settings.least_difference or found == AS_IT_IS else found
