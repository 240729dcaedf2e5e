"""Bodies embedded by one trained network, which is loaded when the first is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scripts.common.sharing.kept_tensors import kept_tensors
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import DenseEmbedding, WindowSettings
from scripts.networks.embedding_weights import TrainedEmbedding, check_embedding, embedding_mark, load_embedding
from scripts.registration.body import Body, body_of, embed_body


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
    def mark(self) -> str:
        """See `embedding_mark`."""
        return embedding_mark(self._folder)

    def __call__(self, volume: CachedVolume) -> Body:
        """See `embed_body`."""
        return embed_body(self.trained, volume, self.windows)

    def inputs(self, volume_sha256: str) -> list[Any]:
        """What an embedding of a volume depends on, JSON-serialisable."""
        return [self.mark, asdict(self.windows), volume_sha256]

    def shared(self, volume: CachedVolume, volume_sha256: str, file: Path) -> Body:
        """The same, read from the file; made once for all processes that ask for it."""
        levels = kept_tensors(file, self.inputs(volume_sha256), lambda: self(volume).embedding.levels)
        x, y, z = self._spacing_mm
        on_device = {name: cells.to(self.device) for name, cells in levels.items()}
        return body_of(DenseEmbedding(on_device, (float(x), float(y), float(z))), volume.body)
