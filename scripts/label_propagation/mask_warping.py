"""A region carried from one body to another along a map that bends (mode `default`).

Votes are sure of an organ's middle and blur its shape; a region that is carried along keeps it. The affine map is bent
by the embeddings as far as neighbours agree, then by the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from scripts.common.boxes import box_of
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.cells import STRIDE, cells_inside
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.label_transfer import TransferSettings, mapped_cells
from scripts.registration.coupled_convex import coupled_convex_displacements
from scripts.registration.deformable import registered
from scripts.registration.robust_affine import AffineMap

HEARD = 0.1  # vote from which on a class may be near
AROUND_MM = 24.0  # that place, to be registered along with it


def warped_mask(
    support: tuple[CachedVolume, DenseEmbedding],
    one_hot: np.ndarray,
    query: tuple[CachedVolume, DenseEmbedding],
    heard: np.ndarray,
    to_support: AffineMap,
    spacing_mm: np.ndarray,
    settings: TransferSettings,
) -> np.ndarray:
    """Class shares of the query's voxels, (1 + K, X, Y, Z), background first.

    Background where nothing is heard, and outside the body.

    Args:
        support: whose region is known, and its embedding.
        one_hot: (1 + K, X, Y, Z), which of its voxels are of which class, background first.
        query: to be labelled, and its embedding.
        heard: (K, X, Y, Z) votes of the classes in the query.
        to_support: smooth map from the query to the support, in mm of the working grid.
        spacing_mm: of the working grid, (3,).
        settings: how far the embeddings may bend it, and how the images do then.
    """
    shape = heard.shape[1:]
    warped = np.zeros((len(one_hot), *shape), dtype=np.float32)
    warped[0] = 1.0
    margins = np.ceil(AROUND_MM / spacing_mm).astype(int)
    box = box_of(heard.max(axis=0) > HEARD, margins)
    if box is None:
        return warped
    voxels = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in box), indexing="ij"), axis=-1)
    start = _bent_by_embeddings(support[1], query, box, voxels, to_support, spacing_mm, settings)
    moving = _sampled(support[0].image[0].numpy(), _mapped(voxels, to_support, spacing_mm), mode="nearest")
    device = query[1].levels["fine"].device
    images = (query[0].image[0][box], torch.from_numpy(moving), torch.from_numpy(start))
    bent = registered(*(image.to(device) for image in images), settings.registration).cpu().numpy()
    places = _mapped(voxels + np.moveaxis(bent, 0, -1), to_support, spacing_mm)
    inside = query[0].body[box].numpy() > 0
    # The outermost voxels reach half a voxel beyond their centres: an organ that the scan cuts off goes up to the cut.
    last = np.array(one_hot.shape[1:]) - 1
    rim = (places >= -0.5) & (places <= last + 0.5)
    places = np.where(rim, np.clip(places, 0, last), places)
    for mask, target in zip(one_hot[1:], warped[1:], strict=True):
        target[box] = _sampled(mask.astype(np.float32), places, mode="constant") * inside
    warped[0] -= warped[1:].sum(axis=0)
    return warped


def _bent_by_embeddings(
    support: DenseEmbedding,
    query: tuple[CachedVolume, DenseEmbedding],
    box: Sequence[slice],
    voxels: np.ndarray,
    to_support: AffineMap,
    spacing_mm: np.ndarray,
    settings: TransferSettings,
) -> np.ndarray:
    """(3, X, Y, Z) displacements of the query's voxels in a box, in voxels of the query, before the map is followed."""
    shape = tuple(query[1].levels["fine"].shape[1:])
    around = tuple(slice(side.start // STRIDE, -(-side.stop // STRIDE)) for side in box)
    cells, expected_mm = torch.zeros(shape, dtype=torch.bool), torch.zeros(*shape, 3)
    cells[around] = cells_inside(query[0].body, shape)[around]
    expected_mm[around] = mapped_cells(around, to_support, spacing_mm)
    bent_mm = coupled_convex_displacements(
        support, query[1], cells, expected_mm, spacing_mm, settings.reach_mm, settings.temperature
    )
    # A volume of one cell's thickness leaves the map without a way along that axis: the pseudo-inverse goes none.
    in_query = bent_mm.numpy() @ np.linalg.pinv(to_support.matrix).T / spacing_mm
    places = (voxels - (STRIDE - 1) / 2) / STRIDE
    return np.stack([_sampled(axis, places, mode="nearest") for axis in np.moveaxis(in_query, -1, 0)])


def _mapped(voxels: np.ndarray, to_support: AffineMap, spacing_mm: np.ndarray) -> np.ndarray:
    """(..., 3) voxels of the query -> voxels of the support."""
    return (to_support(voxels.reshape(-1, 3) * spacing_mm) / spacing_mm).reshape(voxels.shape)


def _sampled(array: np.ndarray, places: np.ndarray, mode: str) -> np.ndarray:
    """(X, Y, Z) float32 at (..., 3) places, linear; beyond it 0 ("constant") or its outermost voxels ("nearest")."""
    found = ndimage.map_coordinates(array, places.reshape(-1, 3).T, order=1, mode=mode)
    return found.reshape(places.shape[:-1]).astype(np.float32)
