"""When a class may be corrected: once its network has learnt what its labels have in common.

A network learns first what most labels say and later each label by heart. Its agreement with the labels rises steeply
and then slowly; the curve `a * (1 - exp(-x^b / c))` through it tells when (Liu et al., arXiv 2110.03740).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import curve_fit

LEAST_POINTS = 4  # one more than the curve has parameters


def is_settled(agreement: Sequence[float], settled_slope: float) -> bool:
    """Whether the fitted curve rises slowly by now.

    Args:
        agreement: intersection over union of network and labels, epoch by epoch.
        settled_slope: largest share of the curve's steepest rise so far, which lies behind.
    """
    if len(agreement) < LEAST_POINTS:
        return False
    epochs = np.arange(1, len(agreement) + 1, dtype=float)
    try:
        fitted, _ = curve_fit(_curve, epochs, agreement, p0=(1.0, 1.0, 1.0), bounds=((0, 0.1, 1e-3), (1, 10, np.inf)))
    except RuntimeError:  # no curve found
        return False
    slopes = _slope(epochs, *fitted)
    return bool(slopes[-1] <= settled_slope * slopes.max())


def _curve(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return a * -np.expm1(-(x**b) / c)


def _slope(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return a * b / c * x ** (b - 1) * np.exp(-(x**b) / c)
