"""Geodesic distance from several seeds at once, by plane sweeps in torch or by GeodisTK."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import torch
from torch.nn.functional import pad

from scripts.common.errors import BundleError
from scripts.common.sharing.one_thread import allowed_threads, one_thread

EPSILON = 1e-5
DEFAULT_TOLERANCE = 1e-5
MAX_ITERATIONS = 100
GEODISTK_UNREACHED = 1e9
KEPT_COSTS_BYTES = 2**30
MOST_THREADS = 4  # each works out the costs of edges for itself


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
        max_iterations: upper limit of rounds; a round sweeps along +-x, +-y and +-z (torch), or once forward and once
            backward (GeodisTK).
        truncation: distances above are reported as `truncation`, and do not delay the end (None: no limit).
        tolerance: the torch sweeps stop once the three axes have changed nothing by more than this.
        backend: "torch" (CPU and GPU, all seeds at once) or "geodistk" (CPU, one thread, never checks convergence).
        device: where torch computes (default: where `image` is).
        kept_costs_bytes: memory for edge costs, over all three axes, that the torch sweeps keep; changes no distance.

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
            solved = _plane_sweeps(
                image, seeds[~empty], (x, y, z), lam, max_iterations, truncation, tolerance, kept_costs_bytes
            )
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


def _plane_sweeps(
    image: torch.Tensor,
    seeds: torch.Tensor,
    spacing_mm: tuple[float, ...],
    lam: float,
    max_iterations: int,
    truncation: float | None,
    tolerance: float,
    kept_costs_bytes: int,
) -> torch.Tensor:
    """Relax plane after plane along each axis, both ways, until a whole round changes nothing.

    Threads share the seed sets among them. All sets end together, so that their number changes no distance.
    """
    threads = min(allowed_threads(), MOST_THREADS) if image.device.type == "cpu" else 1
    shares = seeds.tensor_split(min(threads, len(seeds)))
    limit = torch.inf if truncation is None else truncation
    kept_bytes = kept_costs_bytes // (3 * len(shares))
    # A plane is too little work for more than one thread, and waiting for each other costs far more.
    with one_thread(), ThreadPoolExecutor(len(shares)) as pool:
        swept = [_SweptSeeds(image, share, spacing_mm, lam, kept_bytes, limit, tolerance) for share in shares]
        quiet = 0
        for step in range(3 * max_iterations):
            changed = [*pool.map(_SweptSeeds.sweep, swept, repeat(step % 3))]
            quiet = 0 if any(changed) else quiet + 1
            if quiet == 3:
                break
    return torch.cat([share.distance for share in swept])


class _SweptSeeds:
    """Distances (K, X, Y, Z) from the seed sets of one thread."""

    def __init__(
        self,
        image: torch.Tensor,
        seeds: torch.Tensor,
        spacing_mm: tuple[float, ...],
        lam: float,
        kept_bytes: int,
        limit: float,
        tolerance: float,
    ) -> None:
        self.axes = [_SweptAxis(image, len(seeds), spacing_mm, axis, lam, kept_bytes) for axis in range(3)]
        self.distance = torch.full(seeds.shape, torch.inf, device=image.device).masked_fill_(seeds, 0.0)
        self.limit, self.tolerance, self.fell_at = limit, tolerance, 0

    def sweep(self, axis: int) -> bool:
        """Along one axis, both ways; whether a distance below the limit fell by more than the tolerance."""
        before, self.distance = self.distance, self.axes[axis].sweep(self.distance)
        found = _changed(before, self.distance, self.limit, self.tolerance, self.fell_at)
        self.fell_at = found or 0
        return found is not None


def _changed(before: torch.Tensor, after: torch.Tensor, limit: float, tolerance: float, first: int) -> int | None:
    """Where along X a distance below the limit fell by more than the tolerance, looked for from `first` on; or None.

    Where distances fell in one sweep they mostly do in the next one, and a slice says so.
    """
    size = before.shape[1]
    for x in (*range(first, size), *range(first)):
        if bool((after[:, x] < before[:, x].clamp(max=limit) - tolerance).any()):
            return x
    return None


class _SweptAxis:
    """Distances and intensities laid out so that planes across one axis lie together, framed by unreachable voxels.

    `neighbours[i]` and `intensities[c, i]` show plane i shifted by the nine in-plane steps, as views of one memory.
    """

    def __init__(
        self, image: torch.Tensor, count: int, spacing_mm: tuple[float, ...], axis: int, lam: float, kept_bytes: int
    ) -> None:
        framed = pad(image.movedim(axis + 1, 1), (1, 1, 1, 1))
        self.image = framed[..., 1:-1, 1:-1]
        length, height, width = self.image.shape[1:]
        self.axis, self.lam = axis, lam
        self.distance = torch.full((length, count, height + 2, width + 2), torch.inf, device=image.device)
        self.neighbours = self.distance.unfold(2, height, 1).unfold(3, width, 1)
        self.intensities = framed.unfold(2, height, 1).unfold(3, width, 1)
        self.step_mm = _step_lengths_mm(spacing_mm, axis).to(image.device)[:, :, None, None]
        self.cost, self.added = (torch.empty(3, 3, height, width, device=image.device) for _ in range(2))
        self.kept: dict[tuple[int, int], torch.Tensor] = {}
        self.most_kept = kept_bytes // self.cost.nbytes
        self.path = torch.empty(count, 3, 3, height, width, device=image.device)
        self.best = torch.empty(count, height, width, device=image.device)

    def sweep(self, distance: torch.Tensor) -> torch.Tensor:
        """Carry (K, X, Y, Z) distances along the axis, up and then down; the result is a view of this object's."""
        inner = self.distance[:, :, 1:-1, 1:-1]
        result = inner.movedim(0, self.axis + 1)
        for own, given in zip(result.unbind(1), distance.unbind(1), strict=True):  # all at once misses the cache
            own.copy_(given)
        length = len(inner)
        for plane in range(1, length):
            self._relax(inner[plane], plane, plane - 1)
        for plane in range(length - 2, -1, -1):
            self._relax(inner[plane], plane, plane + 1)
        return result

    def _relax(self, distance: torch.Tensor, plane: int, neighbour: int) -> None:
        """Shorten the distances of a plane by paths over its nine neighbours in the plane beside it."""
        torch.add(self.neighbours[neighbour], self._edge_costs(plane, neighbour), out=self.path)
        torch.amin(self.path, dim=(1, 2), out=self.best)
        torch.minimum(distance, self.best, out=distance)

    def _edge_costs(self, plane: int, neighbour: int) -> torch.Tensor:
        """(3, 3, height, width) costs of the edges between two planes; kept for later sweeps while there is room."""
        if (kept := self.kept.get((plane, neighbour))) is not None:
            return kept
        torch.sub(self.image[0, plane], self.intensities[0, neighbour], out=self.cost)
        self.cost.abs_().add_(EPSILON)
        for channel in range(1, len(self.image)):
            torch.sub(self.image[channel, plane], self.intensities[channel, neighbour], out=self.added)
            self.cost.add_(self.added.abs_())
        if self.lam < 1:
            self.cost.div_(self.cost * (1 - self.lam) + self.lam)
        self.cost.mul_(self.step_mm)
        if len(self.kept) < self.most_kept:
            self.kept[plane, neighbour] = self.cost.clone()
        return self.cost


def _step_lengths_mm(spacing_mm: tuple[float, ...], axis: int) -> torch.Tensor:
    """(3, 3) lengths of the edges to the nine voxels of the plane beside, in the order of the in-plane axes."""
    across = [spacing for index, spacing in enumerate(spacing_mm) if index != axis]
    first, second = torch.meshgrid(*(torch.tensor([-step, 0.0, step]) for step in across), indexing="ij")
    return torch.sqrt(spacing_mm[axis] ** 2 + first**2 + second**2)


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
