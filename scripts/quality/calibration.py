"""How well predicted Dice tells true Dice: what the benchmark and the report say about the self-check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

FAILURE = 0.5  # a result with a Dice below is one


class DicePair(TypedDict):
    """One class of one case: its predicted and true Dice, and whether the self-check flagged it."""

    predicted: float
    true: float
    flagged: bool


class Calibration(TypedDict):
    """How far predicted Dice can be relied on, over all results.

    Keys:
        pearson_r: None where one of the two does not vary.
        mean_absolute_error: of predicted Dice.
        results, failures, failures_flagged: counts; see `FAILURE`.
        false_flags: flagged results that are no failures.
    """

    pearson_r: float | None
    mean_absolute_error: float
    results: int
    failures: int
    failures_flagged: int
    false_flags: int


def summary(pairs: Sequence[DicePair] | Sequence[Mapping[str, Any]]) -> Calibration:
    """Pearson's r, mean absolute error, and what the flags catch.

    Args:
        pairs: a `DicePair`, or a row of a JSON file with its keys, for every (case, class); at least one.
    """
    predicted = np.array([pair["predicted"] for pair in pairs])
    true = np.array([pair["true"] for pair in pairs])
    flagged = np.array([pair["flagged"] for pair in pairs], dtype=bool)
    failed = true < FAILURE
    varied = len(pairs) > 1 and predicted.std() > 0 and true.std() > 0
    return {
        "pearson_r": float(np.corrcoef(predicted, true)[0, 1]) if varied else None,
        "mean_absolute_error": float(np.abs(predicted - true).mean()),
        "results": len(pairs),
        "failures": int(failed.sum()),
        "failures_flagged": int((failed & flagged).sum()),
        "false_flags": int((~failed & flagged).sum()),
    }


def interval_coverage(pairs: Sequence[Mapping[str, Any]]) -> float:
    """Share of the results whose true Dice lies within its interval.

    Args:
        pairs: with "true" and "interval", [low, high], for every (case, class); at least one.
    """
    return float(np.mean([pair["interval"][0] <= pair["true"] <= pair["interval"][1] for pair in pairs]))


def kept_quality(predicted: Sequence[float], true: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and mean true Dice of the results kept, if those of the lowest predicted Dice are put aside one by one.

    This is the risk-coverage curve, with Dice for risk. Returns two (n,) arrays, coverage 1/n to 1.
    """
    order = np.argsort(-np.asarray(predicted, dtype=float), kind="stable")
    counts = np.arange(1, len(order) + 1)
    return counts / max(len(order), 1), np.cumsum(np.asarray(true, dtype=float)[order]) / counts
