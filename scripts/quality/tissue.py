"""How much of a class is of the tissue that the support mask has: what else a label map took in (mode `default`).

Contrast agent moves an organ's intensity from scan to scan, but hardly how wide its intensities spread: a label map
that lies beside its organ holds several tissues. Noise spreads them, too, and is measured and allowed for. Of CT alone:
an MR's intensities have no scale of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from scripts.common.boxes import boxes_of

ROUNDING_HU = 0.5
LEAST_VOXELS = 20  # from which percentiles mean something
NOWHERE = np.s_[:0, :0, :0]


@dataclass(frozen=True)
class Tissue:
    """The intensities of one class in a label map.

    Attributes:
        values_hu: (N,) of its voxels.
        noise_hu: median absolute difference of voxels that are neighbours along one axis; 0 where it is not measured.
    """

    values_hu: np.ndarray
    noise_hu: float

    @property
    def is_large(self) -> bool:
        """Whether there are enough voxels to say where the tissue lies."""
        return bool(self.values_hu.size >= LEAST_VOXELS)


@dataclass(frozen=True)
class TissueRange:
    """Where the tissue of a class lies in the support mask; all that label maps are held against.

    Attributes:
        below_hu: how far it reaches below the class's median.
        above_hu: how far above.
        coverage: share of the class's voxels between.
        noise_hu: see `Tissue`.
    """

    below_hu: float
    above_hu: float
    coverage: float
    noise_hu: float

    @classmethod
    def of(cls, tissue: Tissue, coverage: float) -> TissueRange:
        """Between two percentiles, with a share of `coverage` of the voxels between them."""
        low, middle, high = np.quantile(tissue.values_hu, ((1 - coverage) / 2, 0.5, (1 + coverage) / 2))
        return cls(middle - low, high - middle, coverage, tissue.noise_hu)


def tissues(
    label: np.ndarray, image_hu: np.ndarray, classes: Mapping[str, int], axis: int | None = None
) -> dict[str, Tissue]:
    """Class -> its intensities, none of one that is absent.

    Args:
        label: (X, Y, Z) label values.
        image_hu: (X, Y, Z) HU on the same grid.
        classes: name -> label value.
        axis: along which the noise of large classes is measured: the one of the smallest steps, where anatomy changes
            least; None measures none.
    """
    boxes, found = boxes_of(label), {}
    for name, value in classes.items():
        box = boxes.get(value, NOWHERE)
        mask, image = label[box] == value, image_hu[box]
        tissue = Tissue(image[mask], 0.0)
        if axis is not None and tissue.is_large:
            tissue = replace(tissue, noise_hu=_noise_hu(mask, image, axis))
        found[name] = tissue
    return found


def tissue_shares(ours: Mapping[str, Tissue], support: Mapping[str, TissueRange]) -> dict[str, float]:
    """Class -> share of its voxels with tissue of the support mask, at most 1; large classes that both have.

    Intensities count from each one's median. The support's range is as much wider as the scan is noisier, by the median
    over its classes: single ones may hold other tissues.
    """
    both = [name for name, tissue in ours.items() if name in support and tissue.is_large]
    noisier = [ours[name].noise_hu / support[name].noise_hu for name in both if support[name].noise_hu > 0]
    wider = max(1.0, float(np.median(noisier))) if noisier else 1.0
    return {name: _share(ours[name].values_hu, support[name], wider) for name in both}


def _share(values_hu: np.ndarray, support: TissueRange, wider: float) -> float:
    away_hu = values_hu - np.median(values_hu)
    below_hu, above_hu = wider * support.below_hu + ROUNDING_HU, wider * support.above_hu + ROUNDING_HU
    return min(1.0, float(np.mean((away_hu >= -below_hu) & (away_hu <= above_hu))) / support.coverage)


def _noise_hu(mask: np.ndarray, image_hu: np.ndarray, axis: int) -> float:
    """0 where no two voxels of the mask are neighbours."""
    masks, images = np.moveaxis(mask, axis, 0), np.moveaxis(image_hu, axis, 0)
    both = masks[1:] & masks[:-1]
    steps_hu = images[1:][both].astype(np.float64) - images[:-1][both]
    return float(np.median(np.abs(steps_hu))) if steps_hu.size else 0.0
