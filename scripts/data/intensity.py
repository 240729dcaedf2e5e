"""From Hounsfield units, or an MR's standard units, to network input, and where the body is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type
from scipy import ndimage
from torch import Tensor

HU_KNOTS = (-500.0, -100.0, 200.0, 1500.0)
NORMALISED_KNOTS = (0.0, 0.2, 0.8, 1.0)

AIR_HU = -500.0  # tissue lies above, air and lung below
CLIPPED_AIR_MARGIN_HU = 6.0  # in volumes clipped above AIR_HU: tissue lies this far above the minimum
PART_VOXELS = 2**18  # at once: numpy interpolates in float64, which is large for a whole volume
TABLE_THICKNESS_MM = 8.0  # thinner sheets touching the skin (table, blanket) are cut off


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
    """Where the body is: (X, Y, Z) bool for (X, Y, Z) HU whose third axis runs along the body.

    The largest connected part that is denser than air, without the table, its holes (lungs, bowel gas) filled slice
    by slice. Works for air of any value, and for volumes clipped so that air is their minimum (say -125 HU).

    Args:
        hu: Hounsfield units; with no tissue at all the mask is empty.
        spacing_mm: voxel spacing along X, Y, Z, for the table's thickness.
    """
    lowest = float(hu.min())
    clipped = lowest > AIR_HU
    tissue = hu > (lowest + CLIPPED_AIR_MARGIN_HU if clipped else AIR_HU)
    return largest_body(tissue, spacing_mm, closed=clipped)  # fat is hardly denser than clipped air, but skin closes


def largest_body(tissue: np.ndarray, spacing_mm: Sequence[float], closed: bool) -> np.ndarray:
    """The largest connected part of (X, Y, Z) bool, without thin sheets, its holes filled slice by slice.

    Args:
        tissue: empty where there is none.
        spacing_mm: voxel spacing along X, Y, Z.
        closed: whether skin closes around what of the body is not in `tissue`; that is filled first.
    """
    if closed:
        tissue = _fill_slices(tissue)
    opened = _open_in_plane(tissue, spacing_mm)
    parts, count = ndimage.label(opened)
    if count == 0:
        return tissue
    return _fill_slices(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))


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


def _fill_slices(mask: np.ndarray) -> np.ndarray:
    """Fill what each axial slice encloses: along the body's axis lungs and bowel are often open."""
    return np.stack([ndimage.binary_fill_holes(mask[:, :, k]) for k in range(mask.shape[2])], axis=2)


def _open_in_plane(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove sheets thinner than the table, slice by slice."""
    radius_x, radius_y = (max(1, round(TABLE_THICKNESS_MM / 2 / step)) for step in spacing_mm[:2])
    x, y = np.ogrid[-radius_x : radius_x + 1, -radius_y : radius_y + 1]
    disc = (x / radius_x) ** 2 + (y / radius_y) ** 2 <= 1
    return ndimage.binary_opening(mask, structure=disc[:, :, None])


def only_body(image: Tensor, body: Tensor) -> Tensor:
    """(1, X, Y, Z) image, 0 outside the body: air, table and the border of the field of view are no anatomy."""
    return image * (body > 0)
