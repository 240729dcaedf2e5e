"""A case as the viewer shows it: a small volume and its label maps on one grid, as compressed NIfTI."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from scripts.data.gate.modality import MR
from scripts.data.resampling import nearest_on_grid, resample
from scripts.data.volume_io import Volume

FINEST_MM = 2.0
VALUE_STEP = 2  # of what is stored: finer than any window shows, and noise below it would fill half of the file
LIMITS = (-1024, 3071)
VOLUME_BUDGET_BYTES = 3_400_000  # of a case, in base64
LEAST_COARSER = 1.1
GZIP_LEVEL = 6
# Name -> lowest and highest value shown.
CT_WINDOWS = {
    "soft tissue": (-160, 240),
    "lung": (-1350, 150),
    "bone": (-500, 1300),
    "brain": (0, 80),
}
MR_PERCENTILES = {"percentiles 1 to 99": (1, 99), "percentiles 5 to 95": (5, 95), "percentiles 0 to 90": (0, 90)}
OUTSIDE_MR = -900  # what lies outside the body is darker


@dataclass(frozen=True)
class SmallVolume:
    """What the viewer gets of one case.

    Attributes:
        image: compressed NIfTI of int16.
        labels: name -> compressed NIfTI of uint8, on the same grid.
        spacing_mm: (3,) of that.
        windows: name -> lowest and highest value shown.
    """

    image: bytes
    labels: Mapping[str, bytes]
    spacing_mm: tuple[float, float, float]
    windows: Mapping[str, tuple[int, int]]

    @property
    def base64_bytes(self) -> int:
        """Of all volumes together."""
        return sum(4 * -(-len(content) // 3) for content in (self.image, *self.labels.values()))

    def to_json(self) -> dict[str, Any]:
        """For the viewer."""
        return {
            "image": _base64(self.image),
            "labels": [[name, _base64(content)] for name, content in self.labels.items()],
            "spacing": [round(step, 2) for step in self.spacing_mm],
            "windows": [[name, *limits] for name, limits in self.windows.items()],
        }


def small_volume(
    image: Volume, labels: Mapping[str, Volume], modality: str, most_bytes: int = VOLUME_BUDGET_BYTES
) -> SmallVolume:
    """A case at `FINEST_MM` along each axis, or as coarse as it is, or as it must be to fit.

    Args:
        image: (X, Y, Z) values in HU or, of MR, in standard units; RAS axes.
        labels: name -> label map on its grid.
        modality: says which windows there are.
        most_bytes: of all volumes together in base64.
    """
    windows = _percentile_windows(image.array) if modality == MR else CT_WINDOWS
    finest_mm = FINEST_MM
    while (made := _at(image, labels, finest_mm, windows)).base64_bytes > most_bytes:
        finest_mm *= max(LEAST_COARSER, (made.base64_bytes / most_bytes) ** (1 / 3))
    return made


def _at(
    image: Volume, labels: Mapping[str, Volume], finest_mm: float, windows: Mapping[str, tuple[int, int]]
) -> SmallVolume:
    spacing_mm = [max(finest_mm, step) for step in image.spacing_mm]
    small = resample(image, spacing_mm)
    values = VALUE_STEP * np.rint(np.clip(small.array, *LIMITS) / VALUE_STEP)
    shape = small.array.shape
    x, y, z = spacing_mm
    return SmallVolume(
        image=_nifti(values.astype(np.int16), small.affine),
        labels={
            name: _nifti(nearest_on_grid(label, small.affine, shape).astype(np.uint8), small.affine)
            for name, label in labels.items()
        },
        spacing_mm=(x, y, z),
        windows=windows,
    )


def _percentile_windows(values: np.ndarray) -> dict[str, tuple[int, int]]:
    """Inside the body; the intensities of MR have no unit."""
    inside = values[values > OUTSIDE_MR]
    percentiles = {
        name: np.percentile(inside if len(inside) else values, share) for name, share in MR_PERCENTILES.items()
    }
    return {name: (round(low), max(round(low) + 1, round(high))) for name, (low, high) in percentiles.items()}


def _nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), GZIP_LEVEL, mtime=0)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
