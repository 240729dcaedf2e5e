"""A volume as registration sees it: the embedding's fine cells inside the body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from scripts.data.cached_volume import CachedVolume
from scripts.data.intensity import only_body
from scripts.embedding.dense_embedding import DenseEmbedding, WindowSettings, embed_volume
from scripts.networks.embedding_weights import TrainedEmbedding


@dataclass(frozen=True)
class Body:
    """The fine cells inside the body. Places are mm of the working grid: voxel times spacing.

    Attributes:
        embedding: of the volume.
        cells: (M, 3) their indices, in the order of the axes.
    """

    embedding: DenseEmbedding
    cells: Tensor

    @cached_property
    def places_mm(self) -> Tensor:
        """(M, 3) centres of the cells."""
        return self.embedding.grid().centres_mm(self.cells)

    @cached_property
    def vectors(self) -> Tensor:
        """(M, F + G) joined embeddings of the cells."""
        return self.embedding.fine_vectors[self.cells.unbind(dim=1)]

    @cached_property
    def sparse(self) -> Tensor:
        """(S,) indices of the M cells that are looked at first: every other one along each axis."""
        even = (self.cells % 2 == 0).all(dim=1).nonzero()[:, 0]
        return even if len(even) else torch.arange(len(self.cells), device=self.cells.device)

    def at(self, places_mm: Tensor) -> Tensor:
        """Joined embeddings at (N, 3) places."""
        spacing_mm = torch.tensor(self.embedding.spacing_mm, dtype=torch.float32, device=places_mm.device)
        return self.embedding.at(places_mm / spacing_mm)

    def around(self, chosen: Tensor) -> Tensor:
        """(N,) of the M cells -> (N, 27) themselves and their neighbours; one outside the body is the cell itself."""
        steps = torch.tensor(list(product((-1, 0, 1), repeat=3)), device=chosen.device)
        neighbours = self.cells[chosen][:, None] + steps + 1
        numbers = self._numbers[neighbours.unbind(dim=-1)]
        return torch.where(numbers < 0, chosen[:, None], numbers)

    @cached_property
    def _numbers(self) -> Tensor:
        """Which of the M cells is at each index, one cell of border on every side; -1 outside the body."""
        size = (self.cells.amax(dim=0) + 3).tolist()
        numbers = torch.full(size, -1, device=self.cells.device)
        numbers[(self.cells + 1).unbind(dim=1)] = torch.arange(len(self.cells), device=self.cells.device)
        return numbers


def embed_body(trained: TrainedEmbedding, volume: CachedVolume, settings: WindowSettings | None = None) -> Body:
    """A volume's cells with their embeddings, where the network is; the volume has the network's spacing."""
    device = next(trained.network.parameters()).device
    image = only_body(volume.image, volume.body).to(device)
    return body_of(embed_volume(trained.network, image, trained.spacing_mm, trained.window_size, settings), volume.body)


def body_of(embedding: DenseEmbedding, body: Tensor) -> Body:
    """Keep the fine cells whose centre voxel lies in the (X, Y, Z) body mask."""
    return Body(embedding, embedding.grid().centred_in(body).nonzero().to(embedding.device))
