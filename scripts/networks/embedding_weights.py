"""A trained AnatomyNet from disk, checked against the working spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.loading import Card, load_by_card, read_card, three

WEIGHTS = "embedding weights"


@dataclass(frozen=True)
class TrainedEmbedding:
    """An AnatomyNet in evaluation mode with the window (voxels) and spacing it was trained at."""

    network: AnatomyNet
    window_size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


def check_embedding(folder: str | Path, spacing_mm: Sequence[float] | None = None) -> None:
    """Refuse, by the card alone, what `load_embedding` would refuse for its spacing; cheap."""
    read_card(folder, WEIGHTS, {"spacing_mm": spacing_mm})


def load_embedding(
    folder: str | Path, spacing_mm: Sequence[float] | None = None, device: str | torch.device = "cpu"
) -> TrainedEmbedding:
    """Load `model.pt` by its card `model.json`.

    Args:
        folder: holds both.
        spacing_mm: what the caller works with; None takes what the card says.
        device: where the network goes.

    Raises:
        BundleError: no network, a damaged one, or one trained at another spacing.
    """
    card = read_card(folder, WEIGHTS, {"spacing_mm": spacing_mm})
    return load_by_card(folder, WEIGHTS, card, _untrained, device)


def _untrained(card: Card) -> TrainedEmbedding:
    x, y, z = (int(size) for size in card["window_size"])
    network = AnatomyNet(card["widths"], card["channels"], card["channels"])
    return TrainedEmbedding(network, (x, y, z), three(card["spacing_mm"]))
