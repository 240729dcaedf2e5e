"""A case at the working spacing, as the stages that locate points read it from the cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scripts.common.files import read_result
from scripts.data.cohort import Cohort


@dataclass(frozen=True)
class CachedVolume:
    """A case at the working spacing: image (1, X, Y, Z) in [0, 1], body (X, Y, Z), affine (4, 4)."""

    image: torch.Tensor
    body: torch.Tensor
    affine: np.ndarray


def read_cached(cohort: Cohort, case: str) -> CachedVolume:
    """Image and body mask of a case of the cohort.

    Raises:
        BundleError: the cache was damaged since the cohort was prepared.
    """
    image, affine = read_result(cohort.cached_image(case))
    body, _ = read_result(cohort.cached_body(case))
    return CachedVolume(
        torch.from_numpy(np.asarray(image, dtype=np.float32))[None], torch.from_numpy(np.asarray(body) > 0), affine
    )
