"""An atlas's mask warped to a case along an affine map and displacements (mode `default`).

Cells are sure of an organ's middle and blur its shape; a warped mask keeps it. Embeddings displace it as far as
neighbours agree (coupled convex registration), then the images do (deformable registration).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from scripts.common.boxes import box_of
from scripts.common.sampling import sample_at
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.atlas import Atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.registration.coupled_convex import coupled_convex_displacements
from scripts.registration.deformable import deformable_displacements
from scripts.registration.robust_affine import AffineMap


def warped_mask(
    atlas: Atlas,
    volume: CachedVolume,
    query: DenseEmbedding,
    probabilities: np.ndarray,
    to_atlas: AffineMap,
    settings: TransferSettings,
) -> np.ndarray:
    """Class shares of the query's voxels, (1 + K, X, Y, Z), background first.

    Background where no class is likely, and outside the body.

    Args:
        atlas: whose mask is warped.
        volume: to be labelled, at the working spacing.
        query: its embedding.
        probabilities: (K, X, Y, Z) of the classes in the query.
        to_atlas: affine map from the query to the atlas, in mm of the working grid.
        settings: see `TransferSettings`.
    """
    spacing_mm = np.array(query.spacing_mm)
    warped = np.zeros((len(atlas.shares), *probabilities.shape[1:]), dtype=np.float32)
    warped[0] = 1.0
    margins = np.ceil(settings.warp_margin_mm / spacing_mm).astype(int)
    box = box_of(probabilities.max(axis=0) > settings.warp_probability, margins)
    if box is None:
        return warped
    voxels = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in box), indexing="ij"), axis=-1)
    start = _displaced_by_embeddings(atlas.body.embedding, volume, query, box, voxels, to_atlas, settings)
    moving = sample_at(atlas.volume.image[0].numpy(), _mapped(voxels, to_atlas, spacing_mm))
    fixed, affine_moving, start_voxels = (
        image.to(query.device) for image in (volume.image[0][box], torch.from_numpy(moving), torch.from_numpy(start))
    )
    displacement = deformable_displacements(fixed, affine_moving, start_voxels, settings.registration).cpu().numpy()
    places = _mapped(voxels + np.moveaxis(displacement, 0, -1), to_atlas, spacing_mm)
    # The outermost voxels reach half a voxel beyond their centres: an organ that the scan cuts off goes up to the cut.
    last = np.array(atlas.shares.shape[1:]) - 1
    rim = (places >= -0.5) & (places <= last + 0.5)
    places = np.where(rim, np.clip(places, 0, last), places)
    inside = volume.body[box].numpy() > 0
    for mask, target in zip(atlas.shares[1:], warped[1:], strict=True):
        target[box] = sample_at(mask, places, outside=0.0) * inside
    warped[0] -= warped[1:].sum(axis=0)
    return warped


def _displaced_by_embeddings(
    atlas: DenseEmbedding,
    volume: CachedVolume,
    query: DenseEmbedding,
    box: Sequence[slice],
    voxels: np.ndarray,
    to_atlas: AffineMap,
    settings: TransferSettings,
) -> np.ndarray:
    """(3, X, Y, Z) displacements of the query's voxels in a box, in voxels of the query, before the affine map."""
    grid = query.grid()
    around = grid.covering(box)
    cells, affine_mm = torch.zeros(grid.shape, dtype=torch.bool), torch.zeros(*grid.shape, 3)
    cells[around] = grid.mostly_in(volume.body)[around]
    affine_mm[around] = grid.mapped(around, to_atlas)
    in_atlas_mm = coupled_convex_displacements(
        atlas, query, cells, affine_mm, settings.search_mm, settings.transfer_temperature, settings.coupled_convex
    )
    # A volume of one cell's thickness leaves the map without a way along that axis: the pseudo-inverse goes none.
    in_query = in_atlas_mm.numpy() @ np.linalg.pinv(to_atlas.matrix).T / np.array(query.spacing_mm)
    places = grid.fractional(voxels)
    return np.stack([sample_at(axis, places) for axis in np.moveaxis(in_query, -1, 0)])


def _mapped(voxels: np.ndarray, to_atlas: AffineMap, spacing_mm: np.ndarray) -> np.ndarray:
    """(..., 3) voxels of the query -> voxels of the atlas."""
    return (to_atlas(voxels.reshape(-1, 3) * spacing_mm) / spacing_mm).reshape(voxels.shape)
