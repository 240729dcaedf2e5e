"""Where a body as a whole says that points are: one affine map through all of them, bent by those nearby.

Points that are found one by one err with their organ. Coordinates measure the support's own place wrongly in every body
alike, and an organ that hardly differs from its surroundings is found where something else looks like it. Most points
are right all the same, and where bodies differ by little more than an affine map they say where the others belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from scripts.registration.robust_affine import LEAST_MATCHES, RobustFit, fit_affine_map


@dataclass(frozen=True)
class BodyMapSettings:
    """When points follow the body, and how closely.

    Attributes:
        largest_residual_mm: the map is believed if half of the points were found at most so many mm from it.
        doubt_mm: a point that was found so many mm from the map counts half as much as one on it.
        nearby_mm: standard deviation, in mm, of the Gaussian within which points bend the map.
        most_score_lost: a class whose mean score is lower by more than this where the map puts it stays where it was
            found: it may lie elsewhere in this body.
    """

    largest_residual_mm: float = 16.0
    doubt_mm: float = 10.0
    nearby_mm: float = 40.0
    most_score_lost: float = 0.2


@dataclass(frozen=True)
class MappedPoints:
    """Where the body says that N points are.

    Attributes:
        places_mm: (N, 3).
        residuals_mm: (N,) how far from the affine map each was found.
        believed: whether the bodies are alike enough; if not, `places_mm` are none to use.
    """

    places_mm: np.ndarray
    residuals_mm: np.ndarray
    believed: bool


def map_points(support_mm: np.ndarray, found_mm: np.ndarray, settings: BodyMapSettings) -> MappedPoints:
    """The support's points by the map from its body to a query's.

    The map is fitted robustly to all points. Each place is then moved by the mean of what near points were found off
    the map, weighted by nearness and, once more, by how far they are to be believed: what few or doubtful points say
    moves it little.

    Args:
        support_mm: (N, 3) the points in the support's world.
        found_mm: (N, 3) where they were found one by one, in the query's.
        settings: see `BodyMapSettings`.
    """
    if len(support_mm) < LEAST_MATCHES:
        return MappedPoints(found_mm, np.zeros(len(found_mm)), believed=False)
    affine_mm = fit_affine_map(support_mm, found_mm, fit=RobustFit(scale_mm=settings.doubt_mm))(support_mm)
    off_mm = found_mm - affine_mm
    residuals_mm = np.linalg.norm(off_mm, axis=1)
    belief = 1 / (1 + (residuals_mm / settings.doubt_mm) ** 2)
    near = np.exp(-cdist(support_mm, support_mm, "sqeuclidean") / (2 * settings.nearby_mm**2))
    bent_mm = affine_mm + near @ (belief[:, None] * off_mm) / near.sum(axis=1, keepdims=True)
    return MappedPoints(bent_mm, residuals_mm, bool(np.median(residuals_mm) <= settings.largest_residual_mm))


def on_the_map(labels: np.ndarray, found: np.ndarray, mapped: np.ndarray, most_lost: float) -> np.ndarray:
    """(N,) which points go where the map says, class by class.

    Args:
        labels: (N,) class values, 0 for background.
        found: (N,) how much they look like the support's where they were found.
        mapped: (N,) the same where the map puts them.
        most_lost: see `BodyMapSettings.most_score_lost`.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for value in np.unique(labels):
        members = labels == value
        chosen[members] = mapped[members].mean() >= found[members].mean() - most_lost
    return chosen
