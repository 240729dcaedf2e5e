"""Geodesic distance from several seeds at once, by plane sweeps or by GeodisTK."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from scripts.common.errors import BundleError
from scripts.pseudo_labels.sweeps.plane_sweeps import swept_distance
from scripts.pseudo_labels.sweeps.remembered import remembered

DEFAULT_TOLERANCE = 1e-5
MAX_ITERATIONS = 100
GEODISTK_UNREACHED = 1e9
KEPT_COSTS_BYTES = 2**30


def geodesic_distance(
    image: torch.Tensor | np.ndarray,
    seeds: torch.Tensor | np.ndarray,
    spacing_mm: Sequence[float],
    lam: float = 1.0,
    max_iterations: int = MAX_ITERATIONS,
    truncation: float | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    backend: str = "torch",
    device: torch.device | str | None = None,
    kept_costs_bytes: int = KEPT_COSTS_BYTES,
) -> torch.Tensor:
    """Geodesic distance of every voxel from each of K seed sets, over the 26 neighbours.

    An edge of length `len` (mm) with intensity step |dI| costs `len / ((1 - lam) + lam / (|dI| + 1e-5))`, the cost of
    GeodisTK: lam = 1 gives `len * |dI|`, lam = 0 the length alone (GeoS step of the paper, whose code has lam = 1).
    Of an image with several channels, |dI| is the sum of their steps.

    Args:
        image: (X, Y, Z) intensities, or (C, X, Y, Z).
        seeds: (K, X, Y, Z), true where the distance is zero.
        spacing_mm: voxel size along X, Y, Z.
        lam: weight of intensity against length, 0 to 1.
        max_iterations: upper limit of rounds; a round sweeps planes along +-x, +-y and +-z (torch), or once forward and
            once backward (GeodisTK).
        truncation: distances above are reported as `truncation`, and do not delay the end (None: no limit).
        tolerance: plane sweeps stop once the three axes have changed nothing by more than this.
        backend: "torch" (plane sweeps: on a GPU by torch, on a CPU by compiled loops, up to four threads) or "geodistk"
            (CPU, one thread, never checks convergence).
        device: where plane sweeps compute (default: where `image` is).
        kept_costs_bytes: memory for edge costs, over all three axes, where torch sweeps; changes no distance.

    Returns:
        (K, X, Y, Z) float32; infinite for a seed set without a voxel.

    Raises:
        BundleError: shapes disagree, a setting is out of range, the image is not finite, or GeodisTK is not installed.
    """
    image = torch.as_tensor(image)
    device = torch.device(device) if device is not None else image.device
    image = image.to(device, torch.float32)
    image = image[None] if image.ndim == 3 else image
    seeds = torch.as_tensor(seeds).to(device) != 0
    _check(image, seeds, spacing_mm, lam, max_iterations, truncation)
    empty = ~seeds.flatten(1).any(dim=1)
    distance = torch.full(seeds.shape, torch.inf, device=device)
    if not empty.all():
        x, y, z = (float(step) for step in spacing_mm)
        if backend == "torch":
            settings = (x, y, z), lam, max_iterations, truncation, tolerance

            def swept(some: torch.Tensor) -> torch.Tensor:
                return swept_distance(image, some, *settings, kept_costs_bytes)

            memory, given = remembered(), seeds[~empty]
            solved = swept(given) if memory is None else memory.solve(image, given, settings, swept)
        elif backend == "geodistk":
            solved = _geodistk(image, seeds[~empty], (x, y, z), lam, max_iterations)
        else:
            raise BundleError("unknown geodesic backend", expected="torch or geodistk", found=backend)
        distance[~empty] = solved if truncation is None else solved.clamp_(max=truncation)
    return distance


def _check(
    image: torch.Tensor,
    seeds: torch.Tensor,
    spacing_mm: Sequence[float],
    lam: float,
    max_iterations: int,
    truncation: float | None,
) -> None:
    if image.ndim != 4 or image.numel() == 0:
        expected = "(X, Y, Z) or (C, X, Y, Z)"
        raise BundleError("the geodesic image must be one volume", expected=expected, found=tuple(image.shape))
    if seeds.ndim != 4 or seeds.shape[1:] != image.shape[1:]:
        expected = f"(K, {', '.join(map(str, image.shape[1:]))})"
        raise BundleError("the seeds do not fit the image", expected=expected, found=tuple(seeds.shape))
    if len(spacing_mm) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing_mm):
        raise BundleError("the voxel spacing is not usable", expected="three lengths above 0 mm", found=spacing_mm)
    if not 0.0 <= lam <= 1.0:
        raise BundleError("lambda weighs intensity against length", expected="0 to 1", found=lam)
    if max_iterations < 1:
        raise BundleError("too few geodesic iterations", expected="at least 1", found=max_iterations)
    if truncation is not None and not truncation > 0:
        raise BundleError("the truncation must be a distance", expected="above 0, or null", found=truncation)
    if not torch.isfinite(image).all():
        raise BundleError("the geodesic image holds values that are not finite", expected="finite numbers")


def _geodistk(
    image: torch.Tensor, seeds: torch.Tensor, spacing_mm: tuple[float, ...], lam: float, max_iterations: int
) -> torch.Tensor:
    """GeodisTK's raster scan, one seed set after the other. It checks no shapes: the arrays are made to fit here."""
    try:
        import GeodisTK
    except ImportError as error:
        raise BundleError(
            "GeodisTK is not installed", expected="GeodisTK, or the backend torch", found=error
        ) from error
    if len(image) > 1:
        raise BundleError(
            "GeodisTK takes one channel",
            expected="the backend torch, or probability_weight 0",
            found=f"{len(image)} channels",
        )
    intensities = np.ascontiguousarray(image[0].cpu().numpy(), dtype=np.float32)
    distances = np.empty(seeds.shape, dtype=np.float32)
    for distance, seed in zip(distances, seeds.cpu().numpy(), strict=True):
        mask = np.ascontiguousarray(seed, dtype=np.uint8)
        distance[...] = GeodisTK.geodesic3d_raster_scan(intensities, mask, spacing_mm, lam, max_iterations)
    distances[distances >= GEODISTK_UNREACHED] = np.inf
    return torch.from_numpy(distances).to(image.device)
