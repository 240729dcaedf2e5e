"""From Hounsfield units, or an MR's standard units, to network input, and where the body is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type
from torch import Tensor

from scripts.data.body.field_edge import with_cut_airway, with_cut_lung
from scripts.data.body.parts import FoundBody, body_parts

HU_KNOTS = (-500.0, -100.0, 200.0, 1500.0)
NORMALISED_KNOTS = (0.0, 0.2, 0.8, 1.0)

AIR_HU = -500.0  # tissue lies above, air and lung below
CLIPPED_AIR_MARGIN_HU = 6.0  # in volumes clipped above AIR_HU: tissue lies this far above the minimum
PART_VOXELS = 2**18  # at once: numpy interpolates in float64, which is large for a whole volume


def normalise_hu(hu: np.ndarray) -> np.ndarray:
    """Map Hounsfield units of any shape to [0, 1], piecewise linearly; float32.

    -500 -> 0, -100 -> 0.2, 200 -> 0.8, 1500 -> 1, constant beyond (pre-processing of arXiv 2111.10773).
    """
    hu = np.asarray(hu)
    normalised = np.empty(hu.shape, dtype=np.float32)
    with np.nditer(
        [hu, normalised],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["writeonly"]],
        buffersize=PART_VOXELS,
    ) as parts:
        for part, result in parts:
            result[...] = np.interp(part, HU_KNOTS, NORMALISED_KNOTS)
    return normalised


class NormaliseHUd(MapTransform):
    """`normalise_hu` as a dictionary transform; a MetaTensor keeps its affine and meta data.

    For a cohort's images: those of MR are in standard units already.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            hu, *_ = convert_data_type(result[key], np.ndarray)
            result[key], *_ = convert_to_dst_type(normalise_hu(hu), dst=result[key], dtype=np.float32)
        return result


def body_mask(hu: np.ndarray, spacing_mm: Sequence[float] = (4.0, 4.0, 4.0)) -> np.ndarray:
    """Where the body is: the mask of `find_body`."""
    return find_body(hu, spacing_mm).mask


def find_body(hu: np.ndarray, spacing_mm: Sequence[float] = (4.0, 4.0, 4.0)) -> FoundBody:
    """Where the body is, for (X, Y, Z) HU whose third axis runs along the body.

    What is denser than air: the largest connected part and others of some size, such as the second leg, without the
    table, holes (lungs, bowel gas) filled slice by slice, also those that the field's edge cuts. Works for air of any
    value, and for volumes clipped so that air is their minimum (say -125 HU).

    Args:
        hu: Hounsfield units; with no tissue at all the mask is empty.
        spacing_mm: voxel spacing along X, Y, Z, for the table's thickness.
    """
    lowest = float(hu.min())
    clipped = lowest > AIR_HU
    tissue_hu = lowest + CLIPPED_AIR_MARGIN_HU if clipped else AIR_HU
    tissue = hu > tissue_hu
    found = body_parts(tissue, spacing_mm, closed=clipped)  # fat is hardly denser than clipped air, but skin closes
    if not found.mask.any():
        return found
    with_lung = with_cut_lung(found.mask, hu, tissue_hu, spacing_mm)
    return replace(found, mask=with_cut_airway(with_lung, tissue, spacing_mm))


class BodySelector:
    """Body mask of a normalised image, as `select_fn` of MONAI's `CropForegroundd`: organs lie in the body.

    Args:
        spacing_mm: voxel size of the image along X, Y, Z.
    """

    def __init__(self, spacing_mm: Sequence[float]) -> None:
        self.spacing_mm = tuple(float(step) for step in spacing_mm)

    def __call__(self, image: NdarrayOrTensor) -> torch.Tensor:
        """(1, X, Y, Z) in [0, 1], RAS axes -> bool of the same shape; all of it where no body is found."""
        array = convert_data_type(image, np.ndarray)[0]
        body = body_mask(np.interp(array[0], NORMALISED_KNOTS, HU_KNOTS), self.spacing_mm)
        return torch.from_numpy(body if body.any() else np.ones_like(body))[None]


def only_body(image: Tensor, body: Tensor) -> Tensor:
    """(1, X, Y, Z) image, 0 outside the body: air, table and the border of the field of view are no anatomy."""
    return image * (body > 0)
