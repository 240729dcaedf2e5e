"""Gaussian noise made where the image is: NumPy's, which MONAI's transforms draw, costs more than all else on a GPU."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


def seeded_noise(like: Tensor, random: np.random.RandomState) -> Tensor:
    """Standard normal noise of the shape, type and device of `like`, seeded by one number drawn from `random`."""
    generator = torch.Generator(like.device).manual_seed(int(random.randint(2**31)))
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


class RandNoised(RandomizableTransform, MapTransform):
    """`RandGaussianNoised` (one standard deviation, drawn from 0 to `std`) with the noise made on the image's device.

    Args:
        keys: float tensors.
        prob: share of the samples that get noise.
        std: largest standard deviation of the noise, of intensities in [0, 1].
    """

    def __init__(self, keys: KeysCollection, prob: float, std: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.std = std

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return result
        strength = self.R.uniform(0, self.std)
        for key in self.key_iterator(result):
            result[key] = result[key] + strength * seeded_noise(result[key], self.R)
        return result
