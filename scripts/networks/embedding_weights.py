"""A trained AnatomyNet from disk, checked against the working spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.networks.anatomy_net import AnatomyNet


@dataclass(frozen=True)
class TrainedEmbedding:
    """An AnatomyNet in evaluation mode with the window and spacing it was trained at."""

    network: AnatomyNet
    window_size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


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
    folder = Path(folder)
    for name in ("model.pt", "model.json"):
        if not (folder / name).is_file():
            raise BundleError(
                "no embedding network here", stage="weights", file=folder / name, expected="a trained AnatomyNet"
            )
    card = read_json(folder / "model.json")
    try:
        network = AnatomyNet(card["widths"], card["channels"], card["channels"])
        network.load_state_dict(torch.load(folder / "model.pt", map_location="cpu", weights_only=True))
        trained = TrainedEmbedding(network, tuple(card["window_size"]), tuple(float(v) for v in card["spacing_mm"]))
    except Exception as error:  # torch.load raises many types for a damaged file
        raise BundleError(
            "the embedding network does not load", stage="weights", file=folder / "model.pt", found=error
        ) from error
    if spacing_mm is not None and tuple(float(v) for v in spacing_mm) != trained.spacing_mm:
        raise BundleError(
            "the embedding network was trained with another spacing",
            stage="weights",
            file=folder / "model.json",
            expected=list(spacing_mm),
            found=list(trained.spacing_mm),
        )
    network.to(device).eval()
    return trained
