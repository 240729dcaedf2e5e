"""Volumes as they are, and turned by 180 degrees or mirrored: which of them the first round takes for turned."""

from __future__ import annotations

from collections.abc import Iterator
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
    fitting_shares,
    landmarks_by_orientation,
    reversed_along,
    turned,
)

DIGITS = 4


def measure(dataset: Dataset, models: Path = BUNDLE_ROOT / "models") -> Iterator[dict[str, Any]]:
    """Every volume as it is, and those of the test list in every other orientation; the lines of the raw results.

    Args:
        dataset: each of its supports is matched with every other volume.
        models: holds `NAME/embedding`.
    """
    trained = load_embedding(models / dataset.folder.name / "embedding")
    matching, settings, windows = MatchingSettings(), OrientationSettings(), WindowSettings()
    supports = {
        support: landmarks_by_orientation(
            trained, cached(dataset.image(support), trained.spacing_mm[0]), windows, settings
        )
        for support in (dataset.support, *dataset.alternative_supports)
    }
    yield result_line(HEAD, dataset.folder.name, supports=list(supports), least_gain=settings.least_gain)
    for case in (*dataset.test, *dataset.unlabelled):
        volume = cached(dataset.image(case), trained.spacing_mm[0])
        for orientation in ORIENTATIONS if case in dataset.test else (AS_IT_IS,):
            body = embed_body(trained, reversed_along(volume, ORIENTATIONS[orientation]), windows)
            found = {}
            for support in supports.keys() - {case}:
                shares = fitting_shares(supports[support], body, matching, settings)
                others = max(share for words, share in shares.items() if words != AS_IT_IS)
                found[support] = {
                    "turned": turned(shares, settings.least_gain),
                    "gain": round(others - shares[AS_IT_IS], DIGITS),
                }
            yield result_line("orientation", f"{case} {orientation}", case=case, orientation=orientation, found=found)
