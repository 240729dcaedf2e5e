"""Where each cell of one body lies in another, bent only as far as neighbours agree (mode `default`).

Independent matches jump; an affine map misses by centimetres. Between them: every cell takes the mean of the places
that look alike, weighed by how near they are to where its neighbours went, round by round with less freedom (coupled
convex optimisation, Heinrich et al., MICCAI 2014, with a soft minimum over embeddings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from scripts.embedding.cells import STRIDE
from scripts.embedding.dense_embedding import DenseEmbedding

CHUNK = 64  # cells whose windows are looked at together
LEAST_WEIGHT = 1e-6  # of the neighbours; where there are none, the map stays affine


@dataclass(frozen=True)
class CoupledConvexRound:
    """One round.

    Attributes:
        prior_mm: standard deviation of the Gaussian around where the neighbours went.
        width_mm: of the Gaussian in which they count.
    """

    prior_mm: float
    width_mm: float


COUPLED_CONVEX_ROUNDS = (
    CoupledConvexRound(24.0, 24.0),
    CoupledConvexRound(16.0, 20.0),
    CoupledConvexRound(12.0, 16.0),
    CoupledConvexRound(8.0, 14.0),
    CoupledConvexRound(6.0, 12.0),
)


def coupled_convex_displacements(
    support: DenseEmbedding,
    query: DenseEmbedding,
    cells: Tensor,
    affine_mm: Tensor,
    spacing_mm: np.ndarray,
    reach_mm: float,
    temperature: float,
    rounds: Sequence[CoupledConvexRound] = COUPLED_CONVEX_ROUNDS,
) -> Tensor:
    """How far from where an affine map puts the query's fine cells they lie in the support, (x, y, z, 3) mm.

    Every other of the cells along each axis is looked at: neighbours go almost the same way. So do cells whose place
    would be outside the support's volume: there is nothing to look at.

    Args:
        support: embedding of the other body.
        query: embedding of the one whose cells are to be found there.
        cells: (x, y, z) bool, cells of the query whose place is wanted.
        affine_mm: (x, y, z, 3) places in the support, mm of the working grid.
        spacing_mm: of the working grid, (3,).
        reach_mm: how far from there a place may be, per axis.
        temperature: of the softmax over the cosines of both levels.
        rounds: see `CoupledConvexRound`.
    """
    places = _cells_at(affine_mm, spacing_mm)
    limits = torch.tensor(support.levels["fine"].shape[1:])
    chosen = _every_other(cells.cpu() & ((places >= 0) & (places < limits)).all(dim=-1))
    if not chosen.any():
        return torch.zeros(*cells.shape, 3)
    window = _Window(support, query, chosen, affine_mm[chosen], spacing_mm, reach_mm, temperature)
    known = chosen.numpy().astype(np.float32)
    field = torch.zeros(*cells.shape, 3)
    for step in rounds:
        found = torch.zeros(*cells.shape, 3)
        found[chosen] = window.mean_displacement(field[chosen], step.prior_mm).cpu()
        field = torch.from_numpy(_smoothed(found.numpy(), known, step.width_mm / (STRIDE * spacing_mm)))
    return field


def _cells_at(places_mm: Tensor, spacing_mm: np.ndarray) -> Tensor:
    """(..., 3) indices of the fine cells whose centres are nearest, also beyond the volume."""
    cell_mm = torch.as_tensor(STRIDE * spacing_mm, dtype=torch.float32, device=places_mm.device)
    return (places_mm / cell_mm - (STRIDE - 1) / (2 * STRIDE)).round().long()


def _every_other(cells: Tensor) -> Tensor:
    even = torch.zeros_like(cells)
    even[::2, ::2, ::2] = cells[::2, ::2, ::2]
    return even if even.any() else cells


def _smoothed(field: np.ndarray, known: np.ndarray, width: Sequence[float]) -> np.ndarray:
    """(x, y, z, 3) Gaussian mean of the known cells around each cell, `width` in cells; 0 where there are none."""
    weight = ndimage.gaussian_filter(known, width, mode="constant")
    total = [ndimage.gaussian_filter(axis, width, mode="constant") for axis in np.moveaxis(field, -1, 0)]
    mean = np.stack(total, axis=-1) / np.maximum(weight, LEAST_WEIGHT)[..., None]
    return np.where(weight[..., None] < LEAST_WEIGHT, 0, mean).astype(np.float32)


class _Window:
    """What each chosen cell of the query sees around its place in the support.

    Args:
        chosen: (x, y, z) bool, N of them true, whose places are inside the support's volume.
        affine_mm: (N, 3).
        Others: as for `coupled_convex_displacements`.
    """

    def __init__(
        self,
        support: DenseEmbedding,
        query: DenseEmbedding,
        chosen: Tensor,
        affine_mm: Tensor,
        spacing_mm: np.ndarray,
        reach_mm: float,
        temperature: float,
    ) -> None:
        vectors = support.fine_vectors
        device = vectors.device
        cell_mm = torch.as_tensor(STRIDE * spacing_mm, dtype=torch.float32, device=device)
        reach = [int(reach_mm // float(side)) for side in cell_mm]
        steps = [torch.arange(-cells, cells + 1, device=device) for cells in reach]
        offsets = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).reshape(-1, 3)
        affine_mm = affine_mm.to(device)
        middle = _cells_at(affine_mm, spacing_mm)
        # (N, 1, 3) + (M, 3): where each cell of the window lies, seen from the affine map's place.
        self.base_mm = (middle + (STRIDE - 1) / (2 * STRIDE)) * cell_mm - affine_mm
        self.offsets_mm = offsets * cell_mm
        wanted = query.fine_vectors[chosen.to(device)]
        self.log_likelihood = self._similarities(wanted, vectors, middle, offsets, reach).div_(temperature)

    @staticmethod
    def _similarities(wanted: Tensor, vectors: Tensor, middle: Tensor, offsets: Tensor, reach: Sequence[int]) -> Tensor:
        """(N, M) products of N vectors and the support's around N cells; 0 beyond the volume."""
        device = vectors.device
        padded = functional.pad(vectors, [0, 0, *(size for cells in reversed(reach) for size in (cells, cells))])
        strides = torch.tensor([padded.shape[1] * padded.shape[2], padded.shape[2], 1], device=device)
        flat = padded.flatten(end_dim=2)
        start = ((middle + torch.tensor(reach, device=device)) * strides).sum(dim=1)
        step = (offsets * strides).sum(dim=1)
        found = torch.empty(len(wanted), len(offsets), device=device)
        for part, here, row in zip(wanted.split(CHUNK), start.split(CHUNK), found.split(CHUNK), strict=True):
            row.copy_(torch.einsum("nd,nmd->nm", part, flat[here[:, None] + step]))
        return found

    def mean_displacement(self, expected_mm: Tensor, prior_mm: float) -> Tensor:
        """(N, 3) mean of the places alike, near the (N, 3) expected displacements."""
        expected_mm = expected_mm.to(self.base_mm)
        found = torch.empty_like(expected_mm)
        for start in range(0, len(found), CHUNK):
            part = slice(start, start + CHUNK)
            places = self.base_mm[part, None] + self.offsets_mm
            far = (places - expected_mm[part, None]).square().sum(dim=-1)
            weight = torch.softmax(self.log_likelihood[part] - far / (2 * prior_mm**2), dim=1)
            found[part] = torch.einsum("nm,nmc->nc", weight, places)
        return found
