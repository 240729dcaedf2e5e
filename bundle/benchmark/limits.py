"""Time and memory of single steps on this machine, against the limits the project sets itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.benchmark import pages
from bundle.benchmark.machine import machine
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.pipeline.localisation import weights_folder
from scripts.common.affines import spacing_of, to_voxels
from scripts.common.errors import BundleError
from scripts.data.cached_volume import CachedVolume
from scripts.data.intensity import body_mask, normalise_hu
from scripts.data.resampling import canonical, resample
from scripts.data.scribbles import draw_points, read_scribble_points
from scripts.data.volume_cache import at_spacing
from scripts.data.volume_io import Volume, read_volume
from scripts.label_propagation.atlas import ask, read_atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.prnet_weights import load_prnet
from scripts.point_propagation.propagator import Propagator
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.registration.body import embed_body
from scripts.registration.embedding_matching import MatchingSettings, locate, maps_between

POINTS = 1000
SPACING_MM = 4.0
REPEATS = 3


def run(dataset_folder: Path, page: Path = Path("docs/benchmarks.md")) -> dict[str, Any]:
    """Measure propagation and geodesic distance on the support volume; write JSON and the page's section."""
    dataset = read_dataset(dataset_folder)
    volume = read_volume(dataset.image(dataset.support))
    coarse_grid = resample(canonical(volume), [SPACING_MM] * 3)
    rows = [
        _row("propagating 1,000 points into one 4 mm volume", 60, _seconds(_propagation(dataset, coarse_grid))),
        _row("geodesic distance, four classes, 4 mm grid", 3, _seconds(_geodesic(dataset, coarse_grid))),
        _row("the same, paths that know probabilities", 3, _seconds(_geodesic(dataset, coarse_grid, channels=4))),
        _row("geodesic distance, four classes, native grid", 60, _seconds(_geodesic(dataset, canonical(volume)), 1)),
    ]
    if (action := _correspondence(dataset)) is not None:
        rows.insert(1, _row("mode default: strokes and labels into one 4 mm volume", 10, _seconds(action)))
    result = {"dataset": dataset.folder.name, "machine": machine(), "rows": rows}
    pages.publish(page, "limits", result, _section(result))
    return result


def _propagation(dataset: Dataset, volume: Volume) -> Callable[[], Any]:
    weights = weights_folder(dataset.folder.name, "paper")
    propagator = Propagator(load_prnet(weights / "coarse"), load_prnet(weights / "fine"))
    image = torch.from_numpy(normalise_hu(volume.array))[None]
    body = torch.from_numpy(body_mask(volume.array, volume.spacing_mm))
    candidates = torch.nonzero(body)
    generator = torch.Generator().manual_seed(0)
    points = candidates[torch.randperm(len(candidates), generator=generator)[:POINTS]]
    described = propagator.describe_support(image, points)
    return lambda: propagator.locate(image, body, described)


def _correspondence(dataset: Dataset) -> Callable[[], Any] | None:
    """Embedding of a test volume, maps, votes, carried region, the strokes' places; None without a network."""
    try:
        weights = weights_folder(dataset.folder.name, "default")
    except BundleError:
        return None
    spacing_mm = np.full(3, SPACING_MM)
    trained = load_embedding(weights / "embedding", [SPACING_MM] * 3)
    support, query = (_cached(dataset.image(case)) for case in (dataset.support, dataset.test[0]))
    body = embed_body(trained, support, spacing_mm)
    region = dataset.label(dataset.support)
    atlas = read_atlas(region, support, body, list(dataset.classes.values()))
    points = read_scribble_points(dataset.scribbles(), dataset.classes)
    places_mm = to_voxels(points.world_mm, support.affine) * spacing_mm

    def action() -> None:
        found = embed_body(trained, query, spacing_mm)
        maps = maps_between(body, found, MatchingSettings())
        ask(atlas, query, found, maps.backward, spacing_mm, TransferSettings())
        locate(body, places_mm, found, maps.forward, MatchingSettings())

    return action


def _cached(image: Path) -> CachedVolume:
    """A volume as the cache holds it."""
    volume = at_spacing(canonical(read_volume(image)), [SPACING_MM] * 3)
    body = torch.from_numpy(body_mask(volume.array, volume.spacing_mm) > 0)
    return CachedVolume(torch.from_numpy(normalise_hu(volume.array))[None].float(), body, volume.affine)


def _geodesic(dataset: Dataset, volume: Volume, channels: int = 1) -> Callable[[], Any]:
    points = read_scribble_points(dataset.scribbles(), dataset.classes)
    classes = np.searchsorted([0, *sorted(dataset.classes.values())], points.labels)
    order = np.where(classes == 0, 0, 1)
    drawn = draw_points(points.world_mm, classes + 1, order, volume.affine, volume.array.shape)
    seeds = np.stack([drawn == index for index in range(1, len(dataset.classes) + 2)])
    image = np.stack([normalise_hu(volume.array)] * channels)
    spacing_mm = spacing_of(volume.affine)
    return lambda: geodesic_distance(image, seeds, spacing_mm, truncation=1.0, tolerance=0.01)


def _seconds(action: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(round(time.perf_counter() - start, 2))
    return seconds


def _row(what: str, limit_s: float, seconds: list[float]) -> dict[str, Any]:
    return {"what": what, "limit_s": limit_s, "seconds": seconds, "median_s": float(np.median(seconds))}


def _section(result: dict[str, Any]) -> str:
    lines = [
        [row["what"], f"{row['limit_s']:.0f}", f"{row['median_s']:.1f}", ", ".join(map(str, row["seconds"]))]
        for row in result["rows"]
    ]
    return "\n\n".join(
        [
            f"### Limits, {result['dataset']}",
            f"`python -m bundle benchmark limits --dataset DIR/{result['dataset']}`; {pages.processor(result)}.",
            pages.table(["step", "limit s", "median s", "runs s"], lines),
        ]
    )
