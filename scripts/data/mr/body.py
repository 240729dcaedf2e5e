"""Where the body is in an MR, whose intensities have no unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from scripts.data.body.parts import body_parts

SMOOTHING_MM = 4.0  # noise and the ghosts of breathing are finer than a body
BRIGHT_PERCENTILE = 99.0
FLOOR_SHARE = 0.01  # of the bright intensity: differences of less are noise


def mr_body_mask(image: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """(X, Y, Z) bool for (X, Y, Z) intensities whose third axis runs along the body.

    The largest connected part above Otsu's threshold, its holes filled slice by slice. The threshold is that of the
    logarithm: suppressed fat is many times darker than organs, and air many times darker than fat.

    Args:
        image: no less than 0 but for noise.
        spacing_mm: voxel spacing along X, Y, Z; an axis that is coarser than the smoothing is not smoothed.
    """
    steps = np.asarray(spacing_mm, dtype=float)
    smooth = ndimage.gaussian_filter(image.astype(np.float32), np.where(steps < SMOOTHING_MM, SMOOTHING_MM / steps, 0))
    floor = FLOOR_SHARE * float(np.percentile(smooth, BRIGHT_PERCENTILE))
    if floor <= 0:
        return np.zeros(image.shape, dtype=bool)
    logarithm = np.log(np.maximum(smooth, 0) + floor)
    return body_parts(logarithm > threshold_otsu(logarithm), spacing_mm, closed=True).mask
