"""Coupled convex registration of embeddings: how far each cell lies from its affine place (mode `default`).

Independent matches jump; an affine map misses by centimetres. Between them: every cell takes the mean of the places
that look alike, weighted by how near they are to where its neighbours went, round by round with less freedom. After
Heinrich et al., "Non-parametric discrete registration with convex optimisation" (2014), with a soft minimum over
embeddings in place of the minimum over image patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError
from scripts.embedding.cells import CellGrid
from scripts.embedding.dense_embedding import DenseEmbedding

CHUNK = 64  # cells whose windows are looked at together
LEAST_WEIGHT = 1e-6  # of the neighbours; where there are none, the cell stays at its affine place


@dataclass(frozen=True)
class CoupledConvexSettings:
    """The rounds, one number each.

    Attributes:
        coupled_prior_mm: standard deviation, in mm and for each round, of the Gaussian around where a cell's neighbours
            went.
        coupled_width_mm: standard deviation, in mm and for each round, of the Gaussian by which those neighbours count.
    """

    coupled_prior_mm: Sequence[float] = (24.0, 16.0, 12.0, 8.0, 6.0)
    coupled_width_mm: Sequence[float] = (24.0, 20.0, 16.0, 14.0, 12.0)

    def __post_init__(self) -> None:
        if len(self.coupled_prior_mm) != len(self.coupled_width_mm):
            raise BundleError(
                "every round of coupled convex registration has a prior and a width",
                stage="registration",
                expected=f"{len(self.coupled_prior_mm)} numbers in coupled_width_mm",
                found=len(self.coupled_width_mm),
            )


def coupled_convex_displacements(
    support: DenseEmbedding,
    query: DenseEmbedding,
    cells: Tensor,
    affine_mm: Tensor,
    search_mm: float,
    temperature: float,
    settings: CoupledConvexSettings | None = None,
) -> Tensor:
    """How far from where an affine map puts the query's fine cells they lie in the support, (x, y, z, 3) mm.

    Every other of the cells along each axis is looked at: neighbours go almost the same way. Cells whose affine place
    is outside the support's volume go with their neighbours.

    Args:
        support: embedding of the other body.
        query: embedding of the one whose cells are located there.
        cells: (x, y, z) bool, cells of the query to be displaced.
        affine_mm: (x, y, z, 3) their affine places in the support, mm of the working grid.
        search_mm: how far from there a place may be, per axis.
        temperature: of the softmax over the cosines of both levels.
        settings: see `CoupledConvexSettings`.
    """
    settings = settings or CoupledConvexSettings()
    grid = support.grid()
    affine_cells = grid.nearest(affine_mm)
    inside = ((affine_cells >= 0) & (affine_cells < torch.tensor(grid.shape))).all(dim=-1)
    chosen = _every_other(cells.cpu() & inside)
    field = torch.zeros(*cells.shape, 3)
    if not chosen.any():
        return field
    vectors = query.fine_vectors[chosen.to(query.device)]
    window = _window(vectors, support, affine_mm[chosen].to(support.device), search_mm, temperature)
    counted = chosen.numpy().astype(np.float32)
    for prior_mm, width_mm in zip(settings.coupled_prior_mm, settings.coupled_width_mm, strict=True):
        located = torch.zeros(*cells.shape, 3)
        located[chosen] = window.mean_displacement(field[chosen], prior_mm).cpu()
        field = torch.from_numpy(_smoothed(located.numpy(), counted, width_mm / grid.cell_mm))
    return field


def _every_other(cells: Tensor) -> Tensor:
    even = torch.zeros_like(cells)
    even[::2, ::2, ::2] = cells[::2, ::2, ::2]
    return even if even.any() else cells


def _smoothed(field: np.ndarray, counted: np.ndarray, width: Sequence[float] | np.ndarray) -> np.ndarray:
    """(x, y, z, 3) Gaussian mean of the counted cells around each cell, `width` in cells; 0 where there are none."""
    weight = ndimage.gaussian_filter(counted, width, mode="constant")
    total = [ndimage.gaussian_filter(axis, width, mode="constant") for axis in np.moveaxis(field, -1, 0)]
    mean = np.stack(total, axis=-1) / np.maximum(weight, LEAST_WEIGHT)[..., None]
    return np.where(weight[..., None] < LEAST_WEIGHT, 0, mean).astype(np.float32)


@dataclass(frozen=True)
class _Window:
    """What each of N cells sees around its affine place: M places at the same offsets.

    Attributes:
        base_mm: (N, 3) displacement to the cell in the middle.
        offsets_mm: (M, 3) from there.
        log_likelihood: (N, M) of each place.
    """

    base_mm: Tensor
    offsets_mm: Tensor
    log_likelihood: Tensor

    def mean_displacement(self, expected_mm: Tensor, prior_mm: float) -> Tensor:
        """(N, 3) mean of the places that look alike, near the (N, 3) expected displacements."""
        expected_mm = expected_mm.to(self.base_mm)
        mean_mm = torch.empty_like(expected_mm)
        for start in range(0, len(mean_mm), CHUNK):
            part = slice(start, start + CHUNK)
            places_mm = self.base_mm[part, None] + self.offsets_mm
            squared_mm = (places_mm - expected_mm[part, None]).square().sum(dim=-1)
            weight = torch.softmax(self.log_likelihood[part] - squared_mm / (2 * prior_mm**2), dim=1)
            mean_mm[part] = torch.einsum("nm,nmc->nc", weight, places_mm)
        return mean_mm


def _window(
    vectors: Tensor, support: DenseEmbedding, affine_mm: Tensor, search_mm: float, temperature: float
) -> _Window:
    """Of N cells with (N, D) vectors, whose (N, 3) affine places are inside the support's volume."""
    grid, device = support.grid(), support.device
    sides = grid.steps(search_mm)
    steps = [torch.arange(-cells, cells + 1, device=device) for cells in sides]
    offsets = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).reshape(-1, 3)
    middle = grid.nearest(affine_mm)
    cosines = _cosines(vectors, support.fine_vectors, middle, offsets, sides)
    return _Window(grid.centres_mm(middle) - affine_mm, _offsets_mm(offsets, grid), cosines.div_(temperature))


def _offsets_mm(offsets: Tensor, grid: CellGrid) -> Tensor:
    return offsets * torch.as_tensor(grid.cell_mm, dtype=torch.float32, device=offsets.device)


def _cosines(vectors: Tensor, others: Tensor, middle: Tensor, offsets: Tensor, sides: Sequence[int]) -> Tensor:
    """(N, M) products of N vectors and the (x, y, z, D) others around N cells; 0 beyond the volume."""
    device = others.device
    padded = functional.pad(others, [0, 0, *(size for cells in reversed(sides) for size in (cells, cells))])
    strides = torch.tensor([padded.shape[1] * padded.shape[2], padded.shape[2], 1], device=device)
    flat = padded.flatten(end_dim=2)
    starts = ((middle + torch.tensor(sides, device=device)) * strides).sum(dim=1)
    steps = (offsets * strides).sum(dim=1)
    cosines = torch.empty(len(vectors), len(offsets), device=device)
    for part, start, row in zip(vectors.split(CHUNK), starts.split(CHUNK), cosines.split(CHUNK), strict=True):
        row.copy_(torch.einsum("nd,nmd->nm", part, flat[start[:, None] + steps]))
    return cosines
