"""A trained AnatomyNet from disk, checked against the working spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.common.schema import list_of, whole
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.loading import MOST_CHANNELS, SPACING_MM, WINDOW, Card, load_by_card, read_card, three

WEIGHTS = "embedding weights"
CARD = {
    "widths": list_of(whole(1, MOST_CHANNELS), 5, 5),
    "channels": whole(1, MOST_CHANNELS),
    "window_size": WINDOW,
    "spacing_mm": SPACING_MM,
}
USUAL_WINDOW = [64, 64, 64]  # of the config and of all shipped networks


@dataclass(frozen=True)
class TrainedEmbedding:
    """An AnatomyNet in evaluation mode with the window (voxels) and spacing it was trained at."""

    network: AnatomyNet
    window_size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


def check_embedding(folder: str | Path, spacing_mm: Sequence[float] | None = None) -> None:
    """Refuse, by the card alone, what `load_embedding` would refuse for its spacing; cheap."""
    read_card(folder, WEIGHTS, CARD, {"spacing_mm": spacing_mm})


def embedding_mark(folder: str | Path) -> str:
    """Fingerprint of all that decides what a network says: its weights, and what its card says beside them.

    With the usual window it is the hash of the weights alone, as records of before name it, so that these stay valid.

    Raises:
        BundleError: no network, or a damaged card.
    """
    window_size = read_card(folder, WEIGHTS, CARD)["window_size"]
    weights = sha256_of_file(Path(folder) / "model.pt")
    return weights if window_size == USUAL_WINDOW else sha256_of_settings([weights, window_size])


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
    card = read_card(folder, WEIGHTS, CARD, {"spacing_mm": spacing_mm})
    network = load_by_card(folder, WEIGHTS, card, _untrained, device)
    x, y, z = card["window_size"]
    return TrainedEmbedding(network, (x, y, z), three(card["spacing_mm"]))


def trained_spacing_mm(folder: str | Path) -> list[float]:
    """Spacing (X, Y, Z) that the network in `folder` was trained at.

    Raises:
        BundleError: there is no such network.
    """
    return list(read_card(folder, WEIGHTS, CARD)["spacing_mm"])


def _untrained(card: Card) -> AnatomyNet:
    return AnatomyNet(card["widths"], card["channels"], card["channels"])
