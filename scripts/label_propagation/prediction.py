"""What one atlas predicts of a case: cells are compared, and the atlas's mask is warped (mode `default`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from scripts.data.cached_volume import CachedVolume
from scripts.data.probability_maps import probabilities_on_grid
from scripts.label_propagation.atlas import Atlas
from scripts.label_propagation.label_transfer import TransferSettings, transfer_labels
from scripts.label_propagation.mask_warping import warped_mask
from scripts.registration.body import Body
from scripts.registration.robust_affine import AffineMap


@dataclass(frozen=True)
class Prediction:
    """What one atlas predicts of a case.

    Attributes:
        cells: (1 + K, x, y, z) class probabilities of the fine cells, background first.
        probabilities: (1 + K, X, Y, Z) class probabilities of the voxels, background first: the cells' and the warped
            mask, weighted.
    """

    cells: Tensor
    probabilities: np.ndarray


def propagate_labels(
    atlas: Atlas, volume: CachedVolume, query: Body, to_atlas: AffineMap, settings: TransferSettings
) -> Prediction:
    """Send an atlas's labels to a case.

    Args:
        atlas: with its labels.
        volume: of the case, at the working spacing.
        query: the case's embedding.
        to_atlas: affine map from the case to the atlas, in mm of the working grid.
        settings: see `TransferSettings`.
    """
    cells = transfer_labels(atlas.body.embedding, atlas.fractions, query.embedding, volume.body, to_atlas, settings)
    cells_affine = query.embedding.grid().affine(volume.affine)
    probabilities = probabilities_on_grid(cells.numpy(), cells_affine, volume.affine, volume.body.shape)
    if settings.warped_share:
        warped = warped_mask(atlas, volume, query.embedding, probabilities[1:], to_atlas, settings)
        probabilities += settings.warped_share * (warped - probabilities)
    return Prediction(cells, probabilities)


def background_alone(class_count: int, shape: Sequence[int]) -> np.ndarray:
    """(1 + K, X, Y, Z) class probabilities where an atlas has nothing to say."""
    probabilities = np.zeros((1 + class_count, *shape), dtype=np.float32)
    probabilities[0] = 1
    return probabilities
