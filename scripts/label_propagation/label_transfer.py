"""Dense label transfer: every cell of the query compares itself with the support's cells around its affine place.

Strokes give a handful of points; a whole mask gives each cell of the query class probabilities, background included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from scripts.common.boxes import box_of
from scripts.common.errors import BundleError
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.registration.coupled_convex import CoupledConvexSettings
from scripts.registration.deformable import RegistrationSettings
from scripts.registration.robust_affine import AffineMap


@dataclass(frozen=True)
class TransferSettings:
    """How an atlas's labels reach a case.

    Attributes:
        search_mm: how far from its affine place a cell is compared with the support's, along each axis, in mm.
        transfer_prior_mm: standard deviation, in mm, of the Gaussian that favours cells near that place.
        transfer_temperature: temperature of the softmax over the cosines of both levels.
        block_cells: cells per axis that are handled together; they share the cells within reach of any of them.
        warped_share: weight of the warped mask in a prediction; the rest is the cells' probabilities.
        warp_probability: a class's mask is warped to where its probability is higher than this.
        warp_margin_mm: a class's mask is warped to so far around that place, too, in mm.
        coupled_convex: how far embeddings move the mask from its affine place.
        registration: how far the images do then.
    """

    search_mm: float = 32.0
    transfer_prior_mm: float = 24.0
    transfer_temperature: float = 0.07
    block_cells: int = 4
    warped_share: float = 0.75
    warp_probability: float = 0.1
    warp_margin_mm: float = 24.0
    coupled_convex: CoupledConvexSettings = field(default_factory=CoupledConvexSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.warped_share <= 1:
            raise BundleError(
                "warped_share is a share", stage="label transfer", expected="0 to 1", found=self.warped_share
            )


def transfer_labels(
    support: DenseEmbedding,
    fractions: Tensor,
    query: DenseEmbedding,
    query_body: Tensor,
    to_support: AffineMap,
    settings: TransferSettings,
) -> Tensor:
    """Class probabilities of the query's fine cells, (1 + K, x, y, z), background first; background outside the body.

    The support and the query may change roles: that is the way backward.

    Args:
        support: whose labels are known.
        fractions: (1 + K, x, y, z) share of each class in its fine cells, background first.
        query: to be labelled.
        query_body: (X, Y, Z) body mask at the working spacing.
        to_support: affine map from the query to the support.
        settings: see `TransferSettings`.
    """
    grid, support_grid, device = query.grid(), support.grid(), query.device
    inside = grid.mostly_in(query_body)
    probabilities = torch.zeros(len(fractions), *grid.shape)
    probabilities[0] = 1.0
    body_box = box_of(inside.numpy())
    if body_box is None:
        return probabilities
    affine_mm = torch.zeros(*grid.shape, 3)
    affine_mm[body_box] = grid.mapped(body_box, to_support)
    support_mm = support_grid.centres(device) * torch.tensor(support.spacing_mm, device=device)
    for block in _blocks(grid.shape, settings.block_cells):
        chosen = inside[block]
        if not chosen.any():
            continue
        places_mm = affine_mm[block][chosen]
        box = support_grid.within_reach(places_mm, settings.search_mm)
        labels = fractions[(slice(None), *box)].reshape(len(fractions), -1)
        if labels.shape[1] == 0 or not labels[1:].any():
            continue  # nothing but background, or nothing at all, around
        cosines = query.fine_vectors[block][chosen.to(device)] @ support.fine_vectors[box].flatten(end_dim=2).T
        distance_mm = torch.cdist(places_mm.to(device), support_mm[box].reshape(-1, 3))
        score = cosines / settings.transfer_temperature - distance_mm**2 / (2 * settings.transfer_prior_mm**2)
        target = probabilities[(slice(None), *block)]
        target[:, chosen] = (torch.softmax(score, dim=1) @ labels.T.to(device)).T.cpu()
    return probabilities


def _blocks(shape: Sequence[int], size: int) -> Iterator[tuple[slice, ...]]:
    for corner in product(*(range(0, length, size) for length in shape)):
        yield tuple(slice(start, start + size) for start in corner)
