"""Volumes as they are, and turned by 180 degrees or mirrored: which of them the first round takes for turned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bundle.benchmark.cost.limits import cached
from bundle.benchmark.results import HEAD, result_line
from bundle.datasets.dataset import Dataset
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import TrainedEmbedding, load_embedding
from scripts.registration.body import embed_body
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import (
    AS_IT_IS,
    ORIENTATIONS,
    OrientationSettings,
    affine_fits,
    landmarks_by_orientation,
    reversed_along,
)

DIGITS = 4


def measure(dataset: Dataset, models: Path = BUNDLE_ROOT / "models") -> Iterator[dict[str, Any]]:
    """Every volume as it is, and those of the test list in every other orientation; the lines of the raw results.

    As they are all are judged by a network of random weights, too: it must not call anybody turned.

    Args:
        dataset: each of its supports is matched with every other volume.
        models: holds `NAME/embedding`.
    """
    settings = OrientationSettings()
    trained = load_embedding(models / dataset.folder.name / "embedding")
    supports = (dataset.support, *dataset.alternative_supports)
    limits = {"least_gain": settings.least_gain, "least_difference": settings.least_difference}
    yield result_line(HEAD, dataset.folder.name, supports=list(supports), **limits)
    yield from _measured(dataset, trained, settings, ORIENTATIONS, "")
    yield from _measured(dataset, untrained(trained), settings, [AS_IT_IS], ", untrained network")


def untrained(trained: TrainedEmbedding, seed: int = 0) -> TrainedEmbedding:
    """The same network with random weights."""
    network = copy.deepcopy(trained.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return replace(trained, network=network)


def _measured(
    dataset: Dataset,
    trained: TrainedEmbedding,
    settings: OrientationSettings,
    orientations: Iterable[str],
    network: str,
) -> Iterator[dict[str, Any]]:
    """`network`: what is said of it beside the orientation."""
    matching, windows = MatchingSettings(), WindowSettings()
    supports = {}
    for support in (dataset.support, *dataset.alternative_supports):
        volume = cached(dataset.image(support), trained.spacing_mm)
        body = embed_body(trained, volume, windows)
        supports[support] = landmarks_by_orientation(trained, volume, body, windows, settings)
    for orientation in orientations:
        axes, words = ORIENTATIONS[orientation], orientation + network
        for case in (*dataset.test, *dataset.unlabelled) if orientation == AS_IT_IS else dataset.test:
            volume = cached(dataset.image(case), trained.spacing_mm)
            body = embed_body(trained, reversed_along(volume, axes), windows)
            fits = {
                support: _fits(affine_fits(orientations, body, matching, settings))
                for support, orientations in supports.items()
                if support != case
            }
            yield result_line("orientation", f"{case} {words}", case=case, orientation=words, fits=fits)


def _fits(fits: Mapping[str, float]) -> dict[str, float]:
    """Of the body as it is, and of the best of the other orientations."""
    others = max(fit for words, fit in fits.items() if words != AS_IT_IS)
    return {"as_it_is": round(fits[AS_IT_IS], DIGITS), "otherwise": round(others, DIGITS)}
