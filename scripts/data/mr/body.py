"""Where the body is in an MR, whose intensities have no unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from scripts.data.body.parts import FoundBody, body_parts

SMOOTHING_MM = 4.0  # noise and the ghosts of breathing are finer than a body
BRIGHT_PERCENTILE = 99.0
FLOOR_SHARE = 0.01  # of the bright intensity: differences of less are noise
EDGE_PERCENTILE = 5.0  # of the field's edge: as dark as air if there is any
DARK_SHARE = 0.1  # of the 90th percentile: what is darker has no part in what tissue is like,
DARK_OVER_AIR = 1.5  # nor what is no brighter than so many times the darkest places at the edge
TISSUE_PERCENTILE = 50.0  # of the rest: fluid may fill much of it and is many times brighter
AIR_SHARE = 0.07  # of tissue: nothing but air is so dark at the edge, suppressed fat has 0.08 at the least
NOISY_AIR_SHARE = 0.25  # of tissue: air of a noisy scan may be so bright
NOISE_IN_AIR = 0.25  # of the signal: magnitudes of nothing but noise deviate by 0.35 in the median, muscle by 0.1
LEAST_EDGE = 0.45  # of the field's edge is air where Otsu's threshold finds it; else the next two hold
CUT_SHARE = 0.15  # of tissue
CUT_OVER_AIR = 2.0  # times air
TOLD_SHARE = 0.25  # of the body's volume: so much that is neither as dark as air nor body is told

WHOLE_FIELD = (
    "no air is seen around the body, so the whole field is taken for it; if there is air, its label maps and its scale "
    "may be off"
)
MUCH_LEFT_OUT = (
    "much dark tissue, or ghosts, at the field's edge was taken for air, and nothing is labelled there; look whether "
    "an organ lies there"
)


@dataclass(frozen=True)
class _Brightness:
    """What is known of a smoothed volume.

    Attributes:
        tissue: how bright most of it is.
        air: how bright the field's edge is where it is darkest.
        noise: at those places, share of that.
    """

    tissue: float
    air: float
    noise: float

    @property
    def has_air(self) -> bool:
        """Whether the edge is air where it is darkest."""
        noisy = self.noise >= NOISE_IN_AIR and self.air <= NOISY_AIR_SHARE * self.tissue
        return noisy or self.air <= AIR_SHARE * self.tissue

    @property
    def highest_cut(self) -> float:
        """Of a threshold that leaves dark tissue on its upper side."""
        return max(CUT_SHARE * self.tissue, CUT_OVER_AIR * self.air)


def find_mr_body(image: np.ndarray, spacing_mm: Sequence[float]) -> FoundBody:
    """Where the body is, for (X, Y, Z) intensities whose third axis runs along the body.

    The largest connected part above a threshold and others of some size, holes filled slice by slice. The threshold is
    Otsu's of the logarithm: suppressed fat is many times darker than organs, and air many times darker than fat. It
    halves a volume that has little air, so there it is bounded. Where even the darkest places along the field's edge
    are too bright for air, all of the field is body.

    Args:
        image: no less than 0 but for noise; with nothing in it the mask is empty.
        spacing_mm: voxel spacing along X, Y, Z; an axis that is coarser than the smoothing is not smoothed.
    """
    steps = np.asarray(spacing_mm, dtype=float)
    smooth = ndimage.gaussian_filter(image.astype(np.float32), np.where(steps < SMOOTHING_MM, SMOOTHING_MM / steps, 0))
    floor = FLOOR_SHARE * float(np.percentile(smooth, BRIGHT_PERCENTILE))
    if floor <= 0:
        return FoundBody(np.zeros(image.shape, dtype=bool))
    found = _brightness(image, smooth)
    if not found.has_air:
        return FoundBody(np.ones(image.shape, dtype=bool), (WHOLE_FIELD,))
    logarithm = np.log(np.maximum(smooth, 0) + floor)
    threshold = threshold_otsu(logarithm)
    if np.mean(_edge(smooth) <= found.highest_cut) < LEAST_EDGE:
        threshold = min(threshold, np.log(found.highest_cut + floor))
    body = body_parts(logarithm > threshold, spacing_mm, closed=True)
    left_out = np.count_nonzero(~body.mask & (smooth > found.highest_cut))
    told = (MUCH_LEFT_OUT,) if left_out >= TOLD_SHARE * np.count_nonzero(body.mask) else ()
    return FoundBody(body.mask, (*body.remarks, *told))


def _brightness(image: np.ndarray, smooth: np.ndarray) -> _Brightness:
    edge = _edge(smooth)
    darkest = edge <= np.percentile(edge, EDGE_PERCENTILE)
    air = max(0.0, float(np.median(edge[darkest])))
    deviation = float(np.median(np.abs(_edge(image) - edge)[darkest]))
    dark = max(DARK_SHARE * float(np.percentile(smooth, 90)), DARK_OVER_AIR * air)
    bright = smooth[smooth > dark]
    tissue = float(np.percentile(bright, TISSUE_PERCENTILE)) if bright.size else air
    return _Brightness(tissue, air, deviation / max(air, 1e-30))


def _edge(volume: np.ndarray) -> np.ndarray:
    """(N,) voxels on the field's faces along X and Y: the body's axis runs through the others."""
    return np.concatenate([volume[[0, -1]].ravel(), volume[:, [0, -1]].ravel()])
