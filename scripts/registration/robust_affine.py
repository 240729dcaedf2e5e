"""A smooth anatomical map between two bodies, fitted to matched points of which many are wrong (mode `default`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AFFINE_ROUNDS = 30
RESIDUAL_ROUNDS = 5
LEAST_AFFINE_SCALE_MM = 15.0  # organs move against each other: the affine part cannot be closer
RIDGE = 1.0  # of matches at no distance: where there are fewer, the affine part alone decides
CHUNK = 2048


@dataclass(frozen=True)
class AffineMap:
    """Affine part plus a kernel-weighted mean of what it leaves at the matched points.

    Attributes:
        matrix, shift_mm: affine part, place -> matrix @ place + shift_mm.
        places_mm: (N, 3) matched points in the first body.
        residuals_mm: (N, 3) what the affine part leaves at them.
        weights: (N,) how far each of them is believed.
        width_mm: of the Gaussian kernel; None is the affine part alone.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    places_mm: np.ndarray
    residuals_mm: np.ndarray
    weights: np.ndarray
    width_mm: float | None

    def __call__(self, places_mm: np.ndarray) -> np.ndarray:
        """Where places of the first body, (M, 3), lie in the second."""
        places_mm = np.asarray(places_mm, dtype=np.float64)
        affine = places_mm @ self.matrix.T + self.shift_mm
        if self.width_mm is None:
            return affine
        known, residuals, weights = (
            torch.as_tensor(part, dtype=torch.float32) for part in (self.places_mm, self.residuals_mm, self.weights)
        )
        parts = torch.as_tensor(places_mm, dtype=torch.float32).split(CHUNK)
        local = [_local_mean(_kernel(part, known, self.width_mm) * weights, residuals) for part in parts]
        return affine + torch.cat(local).double().numpy()


def fit_affine_map(
    places_mm: np.ndarray,
    matched_mm: np.ndarray,
    weights: np.ndarray | None = None,
    width_mm: float | None = None,
    scale_mm: float = 15.0,
) -> AffineMap:
    """Fit to matches, robustly: a third of them may be wrong.

    The affine part is found by iteratively re-weighted least squares with Cauchy weights, started from the median
    shift. Then each match is believed the less the farther it lies from what its neighbours say, again by Cauchy
    weights.

    Args:
        places_mm: (N, 3) in the first body, N at least 4.
        matched_mm: (N, 3) in the second.
        weights: (N,) how far each match is believed beforehand; None believes all alike.
        width_mm: how far neighbours reach; None fits the affine part alone.
        scale_mm: matches off by more weigh little.

    Raises:
        ValueError: too few matches for an affine map.
    """
    if len(places_mm) < 4:
        raise ValueError(f"an affine map needs at least 4 matched points, got {len(places_mm)}")
    weights = np.ones(len(places_mm)) if weights is None else np.asarray(weights, dtype=np.float64)
    matrix, shift_mm = _fit_affine(places_mm, matched_mm, weights, max(scale_mm, LEAST_AFFINE_SCALE_MM))
    residuals_mm = matched_mm - (places_mm @ matrix.T + shift_mm)
    if width_mm is not None:
        weights = _believed(places_mm, residuals_mm, weights, width_mm, scale_mm)
    return AffineMap(matrix, shift_mm, places_mm, residuals_mm, weights, width_mm)


def _fit_affine(
    places_mm: np.ndarray, matched_mm: np.ndarray, prior: np.ndarray, least_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    middle = np.median(places_mm, axis=0)
    homogeneous = np.column_stack([places_mm - middle, np.ones(len(places_mm))])
    fitted = np.vstack([np.eye(3), middle + np.median(matched_mm - places_mm, axis=0)])
    scale_mm = 4 * least_mm  # wide at first: bodies differ in size
    for _ in range(AFFINE_ROUNDS):
        distance_mm = np.linalg.norm(matched_mm - homogeneous @ fitted, axis=1)
        root = np.sqrt(prior * _cauchy(distance_mm, scale_mm))[:, None]
        fitted = np.linalg.lstsq(homogeneous * root, matched_mm * root, rcond=None)[0]
        scale_mm = max(least_mm, 0.8 * scale_mm)
    matrix = fitted[:3].T
    return matrix, fitted[3] - matrix @ middle


def _believed(
    places_mm: np.ndarray, residuals_mm: np.ndarray, prior: np.ndarray, width_mm: float, scale_mm: float
) -> np.ndarray:
    """How far each match agrees with its neighbours, (N,)."""
    places = torch.as_tensor(places_mm, dtype=torch.float32)
    residuals = torch.as_tensor(residuals_mm, dtype=torch.float32)
    kernel = _kernel(places, places, width_mm)
    weights = prior * _cauchy(np.linalg.norm(residuals_mm, axis=1), 3 * scale_mm)
    for _ in range(RESIDUAL_ROUNDS):
        expected = _local_mean(kernel * torch.as_tensor(weights, dtype=torch.float32), residuals)
        weights = prior * _cauchy((residuals - expected).norm(dim=1).double().numpy(), scale_mm)
    return weights


def _cauchy(distance_mm: np.ndarray, scale_mm: float) -> np.ndarray:
    return 1 / (1 + (distance_mm / scale_mm) ** 2)


def _kernel(places: Tensor, known: Tensor, width_mm: float) -> Tensor:
    return torch.exp(-(torch.cdist(places, known) ** 2) / (2 * width_mm**2))


def _local_mean(weights: Tensor, residuals: Tensor) -> Tensor:
    return (weights @ residuals) / (weights.sum(dim=1, keepdim=True) + RIDGE)
