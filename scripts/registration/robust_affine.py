"""An affine map between two bodies, fitted to matched points of which many are wrong (mode `default`).

Iteratively re-weighted least squares (Holland and Welsch 1977) with Cauchy weights, whose scale shrinks round by round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_MATCHES = 4  # that determine an affine map


class TooFewMatchesError(ValueError):
    """Two bodies have so little in common that no affine map can be fitted."""


@dataclass(frozen=True)
class AffineMap:
    """Place -> matrix @ place + shift.

    Attributes:
        matrix: (3, 3).
        shift_mm: (3,).
    """

    matrix: np.ndarray
    shift_mm: np.ndarray

    def __call__(self, places_mm: np.ndarray) -> np.ndarray:
        """Where places of the first body, (N, 3), lie in the second."""
        return np.asarray(places_mm, dtype=np.float64) @ self.matrix.T + self.shift_mm


@dataclass(frozen=True)
class RobustFit:
    """How far matches are trusted in each round: the first scale, times the decay, down to the last one.

    Attributes:
        scale_mm: matches off by more weigh little in the end.
        first_scale_mm: the same in the first round, wide because bodies differ in size.
        scale_decay: from round to round.
        rounds: of weighted least squares.
    """

    scale_mm: float = 30.0
    first_scale_mm: float = 120.0
    scale_decay: float = 0.8
    rounds: int = 30


def fit_affine_map(
    places_mm: np.ndarray, matched_mm: np.ndarray, weights: np.ndarray | None = None, fit: RobustFit | None = None
) -> AffineMap:
    """Fit to matches, robustly: a third of them may be wrong. Starts from the median shift.

    Args:
        places_mm: (N, 3) in the first body, N at least 4.
        matched_mm: (N, 3) in the second.
        weights: (N,) how far each match is believed beforehand; None believes all alike.
        fit: see `RobustFit`.

    Raises:
        TooFewMatchesError: fewer than 4 matches.
    """
    if len(places_mm) < LEAST_MATCHES:
        raise TooFewMatchesError(f"an affine map needs at least {LEAST_MATCHES} matched points, got {len(places_mm)}")
    fit = fit or RobustFit()
    prior = np.ones(len(places_mm)) if weights is None else np.asarray(weights, dtype=np.float64)
    middle = np.median(places_mm, axis=0)
    homogeneous = np.column_stack([places_mm - middle, np.ones(len(places_mm))])
    fitted = np.vstack([np.eye(3), middle + np.median(matched_mm - places_mm, axis=0)])
    scale_mm = fit.first_scale_mm
    for _ in range(fit.rounds):
        distance_mm = np.linalg.norm(matched_mm - homogeneous @ fitted, axis=1)
        cauchy = 1 / (1 + (distance_mm / scale_mm) ** 2)
        root = np.sqrt(prior * cauchy)[:, None]
        fitted = np.linalg.lstsq(homogeneous * root, matched_mm * root, rcond=None)[0]
        scale_mm = max(fit.scale_mm, fit.scale_decay * scale_mm)
    matrix = fitted[:3].T
    return AffineMap(matrix, fitted[3] - matrix @ middle)
