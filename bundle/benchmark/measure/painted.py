"""Mode `default` where organs are painted whole on a few slices instead of scribbled: every class, every support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.measure.default import by_atlases
from bundle.benchmark.measure.runs import Bench, first_runs
from bundle.benchmark.results import PAINTED
from bundle.datasets.dataset import Dataset
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.files import write_nifti
from scripts.data.volume_io import read_labels

SLICES = 5  # of each class, its first and last among them


def measure(bench: Bench, models: Path = BUNDLE_ROOT / "models") -> Iterator[dict[str, Any]]:
    """By the atlases alone, as `benchmark default` measures strokes; what an expert would paint is the true label map.

    Args:
        bench: on a labelled cohort.
        models: holds `NAME/embedding`, the network that is used.
    """
    yield bench.head(painted_slices=SLICES)
    weights = models / bench.dataset.folder.name
    dataset = painted_dataset(bench.dataset, bench.output / "painted")
    painted = replace(bench, dataset=replace(dataset, classes=dataset.all_classes))
    for run in first_runs(dataset):
        raters = painted.on_test(run, f"painted_{run.support}", weights=weights)
        yield by_atlases(painted.dataset, run, raters) | {"what": PAINTED}


def painted_dataset(dataset: Dataset, folder: Path) -> Dataset:
    """The same volumes; its strokes are painted slices, the background's those of each support's first set.

    Args:
        dataset: with true label maps of its supports.
        folder: receives links to images and label maps, and `scribbles/`.
    """
    (folder / "scribbles").mkdir(parents=True, exist_ok=True)
    for name in ("images", "labels"):
        if not (folder / name).exists():
            (folder / name).symlink_to(dataset.folder / name)
    painted = replace(dataset, folder=folder)
    for run in first_runs(dataset):
        strokes = read_labels(dataset.scribbles(run.variant, run.support))
        label = read_labels(dataset.label(run.support))
        drawn = painted_slices(label.array, dataset.all_classes, SLICES)
        drawn = np.where((drawn == 0) & (strokes.array == dataset.background), dataset.background, drawn)
        write_nifti(painted.scribbles("a", run.support), drawn.astype(np.uint8), strokes.affine)
    return painted


def painted_slices(label: np.ndarray, classes: Mapping[str, int], count: int) -> np.ndarray:
    """(X, Y, Z) label values of which each class is left on so many slices across Z, evenly from its first to its last.

    Args:
        label: (X, Y, Z) label values.
        classes: name -> label value.
        count: of slices; fewer where a class is on fewer.
    """
    left = np.zeros_like(label)
    for value in classes.values():
        own = label == value
        slices = np.flatnonzero(own.any(axis=(0, 1)))
        if slices.size:
            chosen = slices[np.linspace(0, len(slices) - 1, count).round().astype(int)]
            left[:, :, chosen] = np.where(own[:, :, chosen], value, left[:, :, chosen])
    return left
