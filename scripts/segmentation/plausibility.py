"""What is implausible about a label map without knowing the true one: nothing in it, or a class that fills the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from scripts.data.intensity import BodySelector

BODY_SPACING_MM = 4.0  # fine enough to tell a body's volume
LARGEST_SHARE = 0.75  # of the body: an organ fills about half of the tightest box around it


def label_map_warnings(
    label_ml: Mapping[int, float], body_ml: float, names: Mapping[int, str] | None = None
) -> list[str]:
    """Sentences about a label map, none if it is plausible.

    Args:
        label_ml: label value -> volume, without 0.
        body_ml: volume of the body, as far as the image shows it.
        names: label value -> class.
    """
    names = names or {}
    if not any(label_ml.values()):
        return ["the label map is empty; look whether the volume shows the organs, in Hounsfield units"]
    return [
        f"{names.get(value, f'label {value}')} {_filled(volume / body_ml)}; look whether the volume is in Hounsfield "
        "units, and the network trained for long enough"
        for value, volume in label_ml.items()
        if volume > LARGEST_SHARE * body_ml
    ]


def _filled(share: float) -> str:
    return f"fills {share:.0%} of the body" if share <= 1 else "is larger than the body"


def label_volumes_ml(labels: np.ndarray, voxel_ml: float) -> dict[int, float]:
    """Label value -> volume in ml, of an array of whole numbers, without 0."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): float(count) * voxel_ml for value, count in zip(values, counts, strict=True) if value != 0}


def body_volume_ml(image: torch.Tensor, spacing_mm: Sequence[float]) -> float:
    """Of a (1, X, Y, Z) normalised image on RAS axes; all of it where no body is found."""
    steps = [max(1, round(BODY_SPACING_MM / step)) for step in spacing_mm]
    coarse_mm = [step * count for step, count in zip(spacing_mm, steps, strict=True)]
    coarse = image[(slice(None), *(slice(None, None, count) for count in steps))]
    return float(BodySelector(coarse_mm)(coarse).sum()) * float(np.prod(coarse_mm)) / 1000
