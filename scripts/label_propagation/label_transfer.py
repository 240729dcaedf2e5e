"""Dense transfer of a region: every cell of the query asks the support's cells around its place (mode `default`).

Strokes give a handful of points; a whole region lets each cell of the query vote, background included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError
from scripts.embedding.cells import STRIDE, cells_inside
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.registration.deformable import RegistrationSettings
from scripts.registration.robust_affine import AffineMap


@dataclass(frozen=True)
class TransferSettings:
    """How cells vote.

    Attributes:
        reach_mm: how far from where the smooth map points a cell of the support is asked, per axis.
        prior_mm: standard deviation of the Gaussian that favours cells near there.
        temperature: of the softmax over the cosines of both levels.
        warped_share: weight of the region carried along a map that bends, beside the votes; 0 is votes alone.
        registration: how the images bend that map.
        block: cells per axis of the query that are handled together.
    """

    reach_mm: float = 32.0
    prior_mm: float = 24.0
    temperature: float = 0.07
    warped_share: float = 0.75
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    block: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.warped_share <= 1:
            raise BundleError(
                "carried_share is a share", stage="label transfer", expected="0 to 1", found=self.warped_share
            )


def transfer_labels(
    support: DenseEmbedding,
    fractions: Tensor,
    query: DenseEmbedding,
    query_body: Tensor,
    to_support: AffineMap,
    spacing_mm: np.ndarray,
    settings: TransferSettings,
) -> Tensor:
    """Class probabilities of the query's fine cells, (1 + K, x, y, z), background first; background outside the body.

    The support and the query may change roles: that is the way back.

    Args:
        support: whose labels are known.
        fractions: (1 + K, x, y, z) of its fine cells, see `cell_fractions`.
        query: to be labelled.
        query_body: (X, Y, Z) body mask at the working spacing.
        to_support: smooth map from the query to the support, in mm of the working grid.
        spacing_mm: of the working grid, (3,).
        settings: see `TransferSettings`.
    """
    query_vectors, support_vectors = query.fine_vectors, support.fine_vectors
    device = query_vectors.device
    support_centres = support.cell_centres("fine")
    shape = tuple(query_vectors.shape[:3])
    inside = cells_inside(query_body, shape)
    probabilities = torch.zeros(len(fractions), *shape)
    probabilities[0] = 1.0
    if not inside.any():
        return probabilities
    expected_mm = torch.zeros(*shape, 3)
    (body_box,) = ndimage.find_objects(inside.numpy().astype(np.uint8))
    expected_mm[body_box] = mapped_cells(body_box, to_support, spacing_mm)
    spacing = torch.as_tensor(spacing_mm, dtype=torch.float32)
    voxel_mm = spacing.to(device)
    for block in _blocks(shape, settings.block):
        here = inside[block]
        if not here.any():
            continue
        wanted_mm = expected_mm[block][here]
        box = _box(wanted_mm, settings.reach_mm, spacing, support_vectors.shape[:3])
        known = fractions[(slice(None), *box)].reshape(len(fractions), -1)
        if known.shape[1] == 0 or not known[1:].any():
            continue  # nothing but background, or nothing at all, around
        similarity = query_vectors[block][here.to(device)] @ support_vectors[box].reshape(known.shape[1], -1).T
        distance_mm = torch.cdist(wanted_mm.to(device), support_centres[box].reshape(-1, 3) * voxel_mm)
        score = similarity / settings.temperature - distance_mm**2 / (2 * settings.prior_mm**2)
        found = torch.softmax(score, dim=1) @ known.T.to(device)
        target = probabilities[(slice(None), *block)]
        target[:, here] = found.T.cpu()
    return probabilities


def mapped_cells(box: Sequence[slice], to_support: AffineMap, spacing_mm: np.ndarray) -> Tensor:
    """Where the map puts the centres of the fine cells in a box, (x, y, z, 3) mm.

    The map is followed at every other cell of the volume along each axis and is linear between: it bends over many
    cells.

    Args:
        box: of cells, along X, Y, Z.
        to_support: in mm of the working grid.
        spacing_mm: of the working grid, (3,).
    """
    firsts = [side.start - side.start % 2 for side in box]
    followed = [np.arange(first, side.stop + 1, 2) for first, side in zip(firsts, box, strict=True)]
    axes = [cells * STRIDE + (STRIDE - 1) / 2 for cells in followed]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mapped = to_support(lattice.reshape(-1, 3) * spacing_mm).reshape(lattice.shape)
    sizes = [2 * len(axis) - 1 for axis in axes]
    known = torch.as_tensor(np.moveaxis(mapped, -1, 0)[None], dtype=torch.float32)
    every = functional.interpolate(known, size=sizes, mode="trilinear", align_corners=True)[0]
    inner = tuple(slice(side.start - first, side.stop - first) for first, side in zip(firsts, box, strict=True))
    return every[(slice(None), *inner)].permute(1, 2, 3, 0)


def _blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    for corner in product(*(range(0, length, size) for length in shape)):
        yield tuple(slice(start, start + size) for start in corner)


def _box(wanted_mm: Tensor, reach_mm: float, spacing_mm: Tensor, cells: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Fine cells of the support within reach of any of the (N, 3) places."""
    cell_mm = STRIDE * spacing_mm
    low = ((wanted_mm.amin(dim=0) - reach_mm) / cell_mm).floor().long()
    high = ((wanted_mm.amax(dim=0) + reach_mm) / cell_mm).ceil().long() + 1
    edges = zip(low.tolist(), high.tolist(), cells, strict=True)
    x, y, z = (slice(min(max(start, 0), size), max(min(end, size), 0)) for start, end, size in edges)
    return x, y, z
