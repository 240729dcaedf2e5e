"""Bodies embedded by one trained network, which is loaded when the first is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from scripts.common.files import sha256_of_file
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import TrainedEmbedding, check_embedding, load_embedding
from scripts.registration.body import Body, embed_body


class BodyEmbedder:
    """What a stage knows of its embedding network.

    Args:
        embedding_dir: holds the trained AnatomyNet.
        spacing_mm: of the volumes.
        windows: see `WindowSettings`.
        device: where the network runs.

    Raises:
        BundleError: no network, or one trained at another spacing; a damaged one when it is needed.
    """

    def __init__(
        self,
        embedding_dir: str | Path,
        spacing_mm: Sequence[float],
        windows: WindowSettings,
        device: str | torch.device = "cpu",
    ) -> None:
        self._folder, self._spacing_mm = Path(embedding_dir), spacing_mm
        self.windows, self.device = windows, device
        check_embedding(self._folder, spacing_mm)

    @cached_property
    def trained(self) -> TrainedEmbedding:
        """The network."""
        return load_embedding(self._folder, self._spacing_mm, self.device)

    @cached_property
    def sha256(self) -> str:
        """Of its weights."""
        return sha256_of_file(self._folder / "model.pt")

    def __call__(self, volume: CachedVolume) -> Body:
        """See `embed_body`."""
        return embed_body(self.trained, volume, self.windows)
