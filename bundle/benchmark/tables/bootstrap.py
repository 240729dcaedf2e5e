"""How sure a mean over a few volumes is: paired bootstrap over volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000


def case_dice(runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Mean Dice of every case over runs and classes; a class that the truth lacks does not count.

    A class that was not predicted is 0. Each run is what `evaluate_folder` returns, of the same cases, each of which
    has one of the classes at least.
    """
    return np.mean([_of_one(scores["cases"]) for scores in runs], axis=0)


def worst_dice(runs: Sequence[Mapping[str, Any]]) -> float:
    """The lowest Dice of any class in any case of any run."""
    return min(min(_present(classes)) for scores in runs for classes in scores["cases"].values())


def bootstrap_interval(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of the mean, by drawing cases with replacement; always the same draws."""
    generator = np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def change(runs: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]], resamples: int = RESAMPLES) -> str:
    """Mean difference over the cases and its interval, in words; both on the same cases."""
    difference = case_dice(runs) - case_dice(base)
    low, high = bootstrap_interval(difference, resamples)
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def _of_one(cases: Mapping[str, Any]) -> list[float]:
    return [float(np.mean(_present(classes))) for classes in cases.values()]


def _present(classes: Mapping[str, Any]) -> list[float]:
    return [scores["dice"] or 0.0 for scores in classes.values() if scores["status"] != "absent"]
