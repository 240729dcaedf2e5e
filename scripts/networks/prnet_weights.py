"""Trained PRNets from disk, checked against what the caller works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.common.files import sha256_of_file
from scripts.common.schema import BOOLEAN, NULL, either, list_of, number, whole
from scripts.networks.loading import SPACING_MM, WINDOW, Card, load_by_card, read_card, three
from scripts.networks.prnet import PRNet

WEIGHTS = "PRNet weights"
CARD = {
    "patch_size": WINDOW,
    "width": whole(1, 256),
    "pooling": whole(1, 16),
    "spacing_mm": SPACING_MM,
    "max_offset_mm": list_of(number(10_000.0), 3, 3),
    **dict.fromkeys(("body_only", "float32_head"), either(NULL, BOOLEAN)),
}
BESIDE_WEIGHTS = ("patch_size", "pooling", "max_offset_mm", "body_only", "float32_head")  # weights do not tell these


@dataclass(frozen=True)
class TrainedPRNet:
    """A PRNet in evaluation mode with its spacing and the longest offset per axis that it can tell.

    Attributes:
        body_only: it learned from volumes that are 0 outside the body.
    """

    network: PRNet
    spacing_mm: tuple[float, float, float]
    max_offset_mm: tuple[float, float, float]
    body_only: bool = False


def check_prnet(folder: str | Path, spacing_mm: Sequence[float] | None = None) -> None:
    """Refuse, by the card alone, what `load_prnet` would refuse for its spacing; cheap."""
    read_card(folder, WEIGHTS, CARD, {"spacing_mm": spacing_mm})


def prnet_mark(folder: str | Path) -> list[Any]:
    """All that decides what a network says, JSON-serialisable: its weights, and what its card says beside them.

    Raises:
        BundleError: no network, or a damaged card.
    """
    card = read_card(folder, WEIGHTS, CARD)
    return [sha256_of_file(Path(folder) / "model.pt"), {key: card.get(key) for key in BESIDE_WEIGHTS}]


def load_prnet(
    folder: str | Path,
    spacing_mm: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
) -> TrainedPRNet:
    """Load `model.pt` by its card `model.json`.

    Args:
        folder: holds both.
        spacing_mm: what the caller works with; None takes what the card says.
        patch_size: likewise, voxels.
        device: where the network goes.

    Raises:
        BundleError: no weights, damaged weights, or weights for another patch size or spacing.
    """
    card = read_card(folder, WEIGHTS, CARD, {"spacing_mm": spacing_mm, "patch_size": patch_size})
    network = load_by_card(folder, WEIGHTS, card, _untrained, device)
    offset_mm = three(card["max_offset_mm"])
    return TrainedPRNet(network, three(card["spacing_mm"]), offset_mm, bool(card.get("body_only")))


def trained_spacing_mm(prnet_dir: str | Path) -> list[float]:
    """Spacing (X, Y, Z) that the coarse network in `prnet_dir` was trained at.

    Raises:
        BundleError: there is no such network.
    """
    return list(read_card(Path(prnet_dir) / "coarse", WEIGHTS, CARD)["spacing_mm"])


def _untrained(card: Card) -> PRNet:
    return PRNet(card["patch_size"], card["width"], card["pooling"], float32_head=bool(card.get("float32_head")))
