"""How well predicted Dice tells true Dice: what the benchmark and the report say about the self-check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FAILURE = 0.5  # a result with a Dice below is one


def summary(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pearson's r, mean absolute error, and what the flags catch.

    Args:
        pairs: "predicted" and "true" Dice and "flagged", of every (case, class).
    """
    predicted, true = (np.array([pair[key] for pair in pairs]) for key in ("predicted", "true"))
    flagged = np.array([pair["flagged"] for pair in pairs], dtype=bool)
    failed = true < FAILURE
    spread = len(pairs) > 1 and predicted.std() > 0 and true.std() > 0
    return {
        "pearson_r": float(np.corrcoef(predicted, true)[0, 1]) if spread else None,
        "mean_absolute_error": float(np.abs(predicted - true).mean()),
        "results": len(pairs),
        "failures": int(failed.sum()),
        "failures_flagged": int((failed & flagged).sum()),
        "false_flags": int((~failed & flagged).sum()),
    }


def kept_quality(predicted: Sequence[float], true: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and mean true Dice of the results kept, if those of the lowest predicted Dice are put aside one by one.

    This is the risk-coverage curve, with Dice for risk. Returns two (n,) arrays, coverage 1/n to 1.
    """
    order = np.argsort(-np.asarray(predicted, dtype=float), kind="stable")
    counts = np.arange(1, len(order) + 1)
    return counts / max(len(order), 1), np.cumsum(np.asarray(true, dtype=float)[order]) / counts
