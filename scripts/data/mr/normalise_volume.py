"""Volumes as they were given, CT or MR, to network input: what a trained network's inference begins with."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, convert_data_type, convert_to_dst_type

from scripts.data.gate.modality import Modality
from scripts.data.intensity import NormaliseHUd
from scripts.data.mr.standard_units import in_standard_units
from scripts.data.volume_io import Volume

logger = logging.getLogger(__name__)


class NormaliseVolumed(MapTransform):
    """Intensities to [0, 1] as the network was trained on: those of CT by HU, those of MR by percentiles in the body.

    Args:
        keys: (1, X, Y, Z) images with an affine.
        modality: what the volumes are, "ct" or "mr".
        bias_correction: whether the bias field of MR is divided out.
        allow_missing_keys: see `MapTransform`.
    """

    def __init__(
        self, keys: KeysCollection, modality: str, bias_correction: bool = True, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modality = Modality(modality, bias_correction=bias_correction)
        self.from_units = NormaliseHUd(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if self.modality.is_mr:
            for key in self.key_iterator(result):
                result[key] = self._in_standard_units(result[key])
        return self.from_units(result)

    def _in_standard_units(self, image: MetaTensor) -> MetaTensor:
        array, *_ = convert_data_type(image, np.ndarray)
        volume = Volume(array[0], np.asarray(image.affine, dtype=float))
        standard = in_standard_units(volume, self.modality.bias_correction)
        for remark in standard.remarks:
            logger.warning("%s: %s", image.meta.get(ImageMetaKey.FILENAME_OR_OBJ, "an image"), remark)
        return convert_to_dst_type(standard.array[None], dst=image, dtype=np.float32)[0]
