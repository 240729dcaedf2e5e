"""A case whose labels are known, and what it says of others (mode `default`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from scripts.data.cached_volume import CachedVolume
from scripts.data.probability_maps import probabilities_on_grid
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import read_labels
from scripts.embedding.cells import cell_fractions, cells_affine
from scripts.label_propagation.label_transfer import TransferSettings, transfer_labels
from scripts.label_propagation.mask_warping import warped_mask
from scripts.registration.body import Body
from scripts.registration.robust_affine import AffineMap


@dataclass(frozen=True)
class Atlas:
    """A case with its labels.

    Attributes:
        volume: at the working spacing.
        body: its embedding.
        one_hot: (1 + K, X, Y, Z) bool, which of its voxels are of which class, background first.
    """

    volume: CachedVolume
    body: Body
    one_hot: np.ndarray

    @cached_property
    def fractions(self) -> Tensor:
        """`cell_fractions` of the labels."""
        return cell_fractions(self.one_hot[1:], tuple(self.body.embedding.levels["fine"].shape[1:]))


@dataclass(frozen=True)
class Prediction:
    """What one voter says of a case.

    Attributes:
        cells: (1 + K, x, y, z) votes of the fine cells.
        probabilities: (1 + K, X, Y, Z) class probabilities of the voxels, background first: cells and the carried region.
    """

    cells: Tensor
    probabilities: np.ndarray


def read_atlas(path: str | Path, volume: CachedVolume, body: Body, values: list[int]) -> Atlas:
    """A voter whose label map, on the volume's original grid, is in a file.

    Args:
        path: the label map.
        volume: at the working spacing.
        body: its embedding.
        values: the K classes' values.
    """
    label = nearest_on_grid(read_labels(path), volume.affine, tuple(volume.body.shape))
    return Atlas(volume, body, np.stack([~np.isin(label, values), *(label == value for value in values)]))


def ask(
    atlas: Atlas,
    volume: CachedVolume,
    query: Body,
    to_atlas: AffineMap,
    spacing_mm: np.ndarray,
    settings: TransferSettings,
) -> Prediction:
    """What a voter says of a case.

    Args:
        atlas: asked.
        volume: of the case, at the working spacing.
        query: the case's embedding.
        to_atlas: smooth map from the case to the voter, in mm of the working grid.
        spacing_mm: of the working grid, (3,).
        settings: see `TransferSettings`.
    """
    cells = transfer_labels(
        atlas.body.embedding, atlas.fractions, query.embedding, volume.body, to_atlas, spacing_mm, settings
    )
    shape = tuple(volume.body.shape)
    probabilities = probabilities_on_grid(cells.numpy(), cells_affine(volume.affine), volume.affine, shape)
    if settings.warped_share:
        known, asked = (atlas.volume, atlas.body.embedding), (volume, query.embedding)
        warped = warped_mask(known, atlas.one_hot, asked, probabilities[1:], to_atlas, spacing_mm, settings)
        probabilities += settings.warped_share * (warped - probabilities)
    return Prediction(cells, probabilities)
