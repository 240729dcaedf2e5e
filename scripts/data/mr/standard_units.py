"""An MR in standard units: its own intensities, shifted and scaled so that every stage reads them as Hounsfield units.

The intensity of an MR is proportional to the signal; what is arbitrary is the factor, the coils' slow change of
brightness, and the noise's floor. So the bias field is divided out, and two percentiles inside the body say the rest:
a straight line, lest borders move where a volume is resampled. The upper one is no higher than it must be: fluid, a
cyst or a bladder may fill a tenth of a body and is many times brighter than organs.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from scripts.common.sharing.one_thread import one_thread
from scripts.data.body.parts import FoundBody
from scripts.data.mr.bias_field import log_bias_field
from scripts.data.mr.body import BRIGHT_PERCENTILE, find_mr_body
from scripts.data.resampling import canonical
from scripts.data.volume_io import Volume

BODY_PERCENTILES = (1.0, 75.0)
BIAS_SPACING_MM = 8.0
OUTSIDE = -1000.0  # as air in CT
ANCHORS = (-100.0, 50.0)  # of them: fat and muscle or liver in CT; the networks tell -100 to 200 apart best
AIR_PERCENTILE = 1.0
NOISE_SHARE = 0.03  # of the bright intensity: noise and ringing lie no further below 0
LIMITS = (-200.0, 3071.0)  # of the body: nothing in it is taken for air


def in_standard_units(volume: Volume, bias_correction: bool) -> Volume:
    """The MR in standard units, float32, on its own grid: `OUTSIDE` around the body, `ANCHORS` at the percentiles.

    Its remarks say, too, what is odd about where the body is.

    Args:
        volume: (X, Y, Z) intensities, in whatever orientation.
        bias_correction: whether the bias field is divided out.
    """
    upright = canonical(volume)
    with one_thread():  # a network that reads the MR itself finds it as the stages before it did
        image, body = _with_body(upright)
        standard = _standard(image, body.mask, bias_correction)
    back = nib.orientations.ornt_transform(nib.io_orientation(upright.affine), nib.io_orientation(volume.affine))
    array = np.ascontiguousarray(nib.apply_orientation(standard, back))
    return replace(volume, array=array, remarks=(*volume.remarks, *body.remarks))


def _with_body(volume: Volume) -> tuple[Volume, FoundBody]:
    """A volume whose third axis runs along the body, with air at 0, and the body."""
    volume = replace(volume, array=_above_air(volume.array.astype(np.float32, copy=False)))
    return volume, find_mr_body(volume.array, volume.spacing_mm)


def _standard(volume: Volume, body: np.ndarray, bias_correction: bool) -> np.ndarray:
    """(X, Y, Z) of a volume whose third axis runs along the body."""
    image = volume.array
    if not body.any():
        return np.full(image.shape, OUTSIDE, dtype=np.float32)
    if bias_correction:
        image = image * np.exp(-log_bias_field(volume, body, BIAS_SPACING_MM))
    low, high = np.percentile(image[body], BODY_PERCENTILES)
    scale = (ANCHORS[1] - ANCHORS[0]) / max(float(high - low), 1e-30)
    standard = np.clip(ANCHORS[0] + (image - low) * scale, *LIMITS)
    return np.where(body, standard, OUTSIDE).astype(np.float32)


def _above_air(image: np.ndarray) -> np.ndarray:
    """Intensities with air at 0: what was shifted, to a mean of 0 say, has it far below."""
    air, bright = np.percentile(image, (AIR_PERCENTILE, BRIGHT_PERCENTILE))
    return image if air >= -NOISE_SHARE * bright else image - air
