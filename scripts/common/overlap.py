"""Overlap of two masks."""

from __future__ import annotations

import numpy as np


def dice_of(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two bool masks; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0
