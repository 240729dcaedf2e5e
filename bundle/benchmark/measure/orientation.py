"""Volumes as they are, and turned by 180 degrees or mirrored: which of them the first round takes for turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundle.benchmark.measure.limits import cached
from bundle.benchmark.results import HEAD, result_line
from bundle.datasets.dataset import Dataset
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import load_embedding
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
MOST_GAIN = 1000.0


def measure(dataset: Dataset, models: Path = BUNDLE_ROOT / "models") -> Iterator[dict[str, Any]]:
    """Every volume as it is, and those of the test list in every other orientation; the lines of the raw results.

    Args:
        dataset: each of its supports is matched with every other volume.
        models: holds `NAME/embedding`.
    """
    trained = load_embedding(models / dataset.folder.name / "embedding")
    matching, settings, windows = MatchingSettings(), OrientationSettings(), WindowSettings()
    supports = {}
    for support in (dataset.support, *dataset.alternative_supports):
        volume = cached(dataset.image(support), trained.spacing_mm)
        body = embed_body(trained, volume, windows)
        supports[support] = landmarks_by_orientation(trained, volume, body, windows, settings)
    yield result_line(HEAD, dataset.folder.name, supports=list(supports), least_gain=settings.least_gain)
    for orientation, axes in ORIENTATIONS.items():
        for case in (*dataset.test, *dataset.unlabelled) if orientation == AS_IT_IS else dataset.test:
            volume = cached(dataset.image(case), trained.spacing_mm)
            body = embed_body(trained, reversed_along(volume, axes), windows)
            gains = {
                support: _gain(affine_fits(orientations, body, matching, settings))
                for support, orientations in supports.items()
                if support != case
            }
            yield result_line("orientation", f"{case} {orientation}", case=case, orientation=orientation, gains=gains)


def _gain(fits: Mapping[str, float]) -> float:
    """How many times better the best of the other orientations fits, at most a thousand."""
    others = max(fit for words, fit in fits.items() if words != AS_IT_IS)
    return round(others / max(fits[AS_IT_IS], others / MOST_GAIN), DIGITS) if others else 0.0
