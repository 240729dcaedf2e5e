"""Time of single steps on this machine, against the limits the project sets itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.benchmark.results import HEAD, result_line
from bundle.datasets.dataset import Dataset
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.affines import spacing_of, to_voxels
from scripts.common.label_channels import LabelChannels
from scripts.data.cached_volume import CachedVolume
from scripts.data.intensity import body_mask, normalise_hu
from scripts.data.resampling import canonical, resample
from scripts.data.scribbles import draw_points, read_scribble_points
from scripts.data.volume_cache import at_spacing
from scripts.data.volume_io import Volume, read_volume
from scripts.label_propagation.atlas import read_atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.prediction import propagate_labels
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.prnet_weights import load_prnet
from scripts.point_propagation.propagator import Propagator
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.registration.body import embed_body
from scripts.registration.embedding_matching import MatchingSettings, locate, maps_between

Action = Callable[[], Any]


@dataclass(frozen=True)
class Sizes:
    """How much is timed.

    Attributes:
        points: that are propagated in mode `paper`.
        spacing_mm: of the coarse grid.
        repeats: of each step; the native grid is done once.
        matching: of mode `default`.
    """

    points: int = 1000
    spacing_mm: float = 4.0
    repeats: int = 3
    matching: MatchingSettings = field(default_factory=MatchingSettings)


def measure(
    dataset: Dataset, models: Path = BUNDLE_ROOT / "models", sizes: Sizes | None = None
) -> Iterator[dict[str, Any]]:
    """Time propagation and geodesic distance on the support volume; the lines of the raw results.

    Args:
        dataset: the support and the first test volume are used.
        models: holds `NAME/coarse`, `NAME/fine` and, for the step of mode `default`, `NAME/embedding`.
        sizes: see `Sizes`.
    """
    sizes = sizes or Sizes()
    weights, grid = models / dataset.folder.name, f"{sizes.spacing_mm:g} mm"
    volume = canonical(read_volume(dataset.image(dataset.support)))
    coarse = resample(volume, [sizes.spacing_mm] * 3)
    classes = len(dataset.classes) + 1
    yield result_line(HEAD, dataset.folder.name, support=dataset.support, classes=dataset.classes)
    what = f"point propagation, {sizes.points:,} points into one {grid} volume"
    yield _line(what, 60, _seconds(_point_propagation(coarse, weights, sizes.points), sizes.repeats))
    if (weights / "embedding" / "model.pt").is_file():
        what = f"label propagation, strokes and labels into one {grid} volume"
        yield _line(what, 10, _seconds(_label_propagation(dataset, weights, sizes), sizes.repeats))
    what = f"geodesic distance, {classes} classes, {grid} grid"
    yield _line(what, 3, _seconds(_geodesic(dataset, coarse), sizes.repeats))
    what = f"geodesic distance with class probabilities, {classes} classes, {grid} grid"
    yield _line(what, 3, _seconds(_geodesic(dataset, coarse, channels=classes), sizes.repeats))
    what = f"geodesic distance, {classes} classes, native grid"
    yield _line(what, 60, _seconds(_geodesic(dataset, volume), 1))


def _point_propagation(volume: Volume, weights: Path, count: int) -> Action:
    propagator = Propagator(load_prnet(weights / "coarse"), load_prnet(weights / "fine"))
    image = torch.from_numpy(normalise_hu(volume.array))[None]
    body = torch.from_numpy(body_mask(volume.array, volume.spacing_mm))
    candidates = torch.nonzero(body)
    generator = torch.Generator().manual_seed(0)
    points = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    described = propagator.describe_support(image, body, points)
    return lambda: propagator.locate(image, body, described)


def _label_propagation(dataset: Dataset, weights: Path, sizes: Sizes) -> Action:
    """Embedding of a test volume, affine maps, class probabilities, warped mask, located strokes."""
    spacing_mm = [sizes.spacing_mm] * 3
    trained = load_embedding(weights / "embedding", spacing_mm)
    support, query = (cached(dataset.image(case), spacing_mm) for case in (dataset.support, dataset.test[0]))
    body = embed_body(trained, support)
    atlas = read_atlas(dataset.label(dataset.support), support, body, LabelChannels(dataset.classes))
    points = read_scribble_points(dataset.scribbles(), dataset.classes)
    points_mm = to_voxels(points.world_mm, support.affine) * spacing_mm

    def action() -> None:
        embedded = embed_body(trained, query)
        maps = maps_between(body, embedded, sizes.matching)
        propagate_labels(atlas, query, embedded, maps.backward, TransferSettings())
        locate(body, points_mm, embedded, maps.forward, sizes.matching)

    return action


def cached(image: Path, spacing_mm: Sequence[float]) -> CachedVolume:
    """A volume as the cache holds it."""
    volume = at_spacing(canonical(read_volume(image)), spacing_mm)
    body = torch.from_numpy(body_mask(volume.array, volume.spacing_mm) > 0)
    return CachedVolume(torch.from_numpy(normalise_hu(volume.array))[None].float(), body, volume.affine)


def _geodesic(dataset: Dataset, volume: Volume, channels: int = 1) -> Action:
    points = read_scribble_points(dataset.scribbles(), dataset.classes)
    classes = np.searchsorted([0, *sorted(dataset.classes.values())], points.labels)
    order = np.where(classes == 0, 0, 1)
    drawn = draw_points(points.world_mm, classes + 1, order, volume.affine, volume.array.shape)
    seeds = np.stack([drawn == index for index in range(1, len(dataset.classes) + 2)])
    image = np.stack([normalise_hu(volume.array)] * channels)
    spacing_mm = spacing_of(volume.affine)
    return lambda: geodesic_distance(image, seeds, spacing_mm, truncation=1.0, tolerance=0.01)


def _seconds(action: Action, repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(round(time.perf_counter() - start, 2))
    return seconds


def _line(what: str, limit_s: float, seconds: Sequence[float]) -> dict[str, Any]:
    return result_line("limit", what, limit_s=limit_s, seconds=list(seconds), median_s=float(np.median(seconds)))
