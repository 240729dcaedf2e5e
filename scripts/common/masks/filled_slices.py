"""Holes of a mask, filled slice by slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def fill_slices(mask: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool with what each axial slice encloses: along the axis lungs, bowel and marrow are often open."""
    return np.stack([ndimage.binary_fill_holes(mask[:, :, k]) for k in range(mask.shape[2])], axis=2)
