"""A volume as registration sees it: the embedding's fine cells inside the body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

from scripts.data.cached_volume import CachedVolume
from scripts.data.intensity import only_body
from scripts.embedding.dense_embedding import DenseEmbedding, embed_volume
from scripts.networks.anatomy_net import STRIDES
from scripts.networks.embedding_weights import TrainedEmbedding


@dataclass(frozen=True)
class Body:
    """A volume as matching sees it: the fine cells inside the body.

    Attributes:
        embedding: of the volume.
        places_mm: (M, 3) voxel times spacing.
        vectors: (M, D) joined embeddings.
        spacing_mm: (3,).
    """

    embedding: DenseEmbedding
    places_mm: Tensor
    vectors: Tensor
    spacing_mm: Tensor

    def at(self, places_mm: Tensor) -> Tensor:
        """Joined embeddings at (N, 3) places in mm."""
        return self.embedding.at(places_mm / self.spacing_mm)

    @cached_property
    def cells(self) -> Tensor:
        """(M, 3) indices of the fine cells."""
        return (self.places_mm / self.spacing_mm / STRIDES["fine"]).floor().long()

    @cached_property
    def sparse(self) -> Tensor:
        """Which of the M cells are looked at first: every other one along each axis."""
        even = (self.cells % 2 == 0).all(dim=1).nonzero()[:, 0]
        return even if len(even) else torch.arange(len(self.cells), device=self.cells.device)

    def around(self, chosen: Tensor) -> Tensor:
        """(N,) of the M cells -> (N, 27) themselves and their neighbours; one outside the body is the cell itself."""
        steps = torch.tensor(list(product((-1, 0, 1), repeat=3)), device=chosen.device)
        wanted = self.cells[chosen][:, None] + steps + 1
        found = self._numbers[wanted.unbind(dim=-1)]
        return torch.where(found < 0, chosen[:, None], found)

    @cached_property
    def _numbers(self) -> Tensor:
        """Which of the M cells is at each index, one cell of border on every side; -1 outside the body."""
        size = (self.cells.amax(dim=0) + 3).tolist()
        numbers = torch.full(size, -1, device=self.cells.device)
        numbers[(self.cells + 1).unbind(dim=1)] = torch.arange(len(self.cells), device=self.cells.device)
        return numbers


def embed_body(trained: TrainedEmbedding, volume: CachedVolume, spacing_mm: np.ndarray) -> Body:
    """A cached volume's cells with their embeddings, where the network is."""
    device = next(trained.network.parameters()).device
    image = only_body(volume.image, volume.body)
    embedding = embed_volume(trained.network, image.to(device), trained.window_size)
    return body_of(embedding, volume.body, spacing_mm)


def body_of(embedding: DenseEmbedding, body: Tensor, spacing_mm: np.ndarray) -> Body:
    """Keep the fine cells whose centre voxel lies in the (X, Y, Z) body mask."""
    centres, vectors = embedding.cell_centres("fine").reshape(-1, 3), embedding.fine_vectors
    voxels = centres.floor().long()
    limits = torch.tensor(body.shape, device=voxels.device)
    inside = (voxels < limits).all(dim=1)
    inside[inside.clone()] = body.to(voxels.device)[tuple(voxels[inside].T)] > 0
    spacing = torch.as_tensor(spacing_mm, dtype=torch.float32, device=centres.device)
    return Body(embedding, centres[inside] * spacing, vectors.reshape(len(centres), -1)[inside], spacing)
