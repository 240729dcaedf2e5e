"""Resampling in MONAI pipelines: `Spacingd` that works in MONAI Label, and the low-pass that should go before it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Spacingd
from monai.utils import convert_data_type, convert_to_dst_type
from scipy import ndimage


class SafeSpacingd(Spacingd):
    """`Spacingd` for data dictionaries that also hold strings such as `image_path`.

    MONAI 1.6 calls `.update()` on every item whose key starts with `image_`; MONAI Label stores strings there. Such
    items are set aside during the call.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        prefixes = tuple(f"{key}_" for key in self.keys)
        aside = {k: v for k, v in data.items() if str(k).startswith(prefixes) and not isinstance(v, dict)}
        resampled = super().__call__({k: v for k, v in data.items() if k not in aside}, lazy=lazy)
        return {**resampled, **aside}


class AntiAliasd(MapTransform):
    """Gaussian low-pass along the axes that a following `SafeSpacingd` makes coarser, so that nothing aliases.

    An axis made coarser by a factor r is smoothed with a standard deviation of (r - 1) / 2 voxels, as in
    `scripts.data.resampling.resample`. Not inverted: it moves nothing.

    Args:
        keys: channel-first MetaTensors (C, X, Y, Z).
        spacing_mm: voxel size that volumes are resampled to, in the order of the array's axes, in mm.
    """

    def __init__(self, keys: KeysCollection, spacing_mm: Sequence[float], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm = tuple(float(step) for step in spacing_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._smoothed(result[key])
        return result

    def _smoothed(self, image: MetaTensor) -> torch.Tensor:
        old_mm = [float(step) for step in image.pixdim]
        sigma = [max(0.0, (new / old - 1) / 2) for old, new in zip(old_mm, self.spacing_mm, strict=True)]
        if max(sigma) < 1e-3:
            return image
        array, *_ = convert_data_type(image, np.ndarray)
        smooth = ndimage.gaussian_filter(array, sigma=[0.0, *sigma], mode="nearest")
        return convert_to_dst_type(smooth, dst=image)[0]
