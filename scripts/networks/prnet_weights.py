"""Trained PRNets from disk, checked against what the caller works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.networks.prnet import PRNet


@dataclass(frozen=True)
class TrainedPRNet:
    """A PRNet with what is needed to use it."""

    network: PRNet
    spacing_mm: tuple[float, float, float]
    max_offset_mm: tuple[float, float, float]


def load_prnet(
    folder: str | Path,
    spacing_mm: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
) -> TrainedPRNet:
    """Load a trained PRNet in eval mode.

    Args:
        folder: holds `model.pt` and `model.json`.
        spacing_mm: what the caller works with; None takes what the card says.
        patch_size: likewise.
        device: where the network goes.

    Raises:
        BundleError: no weights, damaged weights, or weights for another patch size or spacing.
    """
    folder = Path(folder)
    for name in ("model.pt", "model.json"):
        if not (folder / name).is_file():
            raise BundleError("no PRNet weights here", stage="weights", file=folder / name, expected="a trained PRNet")
    card = read_json(folder / "model.json")
    _demand_equal("spacing_mm", spacing_mm, card, folder)
    _demand_equal("patch_size", patch_size, card, folder)
    try:
        network = PRNet(card["patch_size"], card["width"], card["pooling"])
        network.load_state_dict(torch.load(folder / "model.pt", map_location="cpu", weights_only=True))
        trained = TrainedPRNet(network, tuple(card["spacing_mm"]), tuple(card["max_offset_mm"]))
    except Exception as error:  # torch.load raises many types for a damaged file
        raise BundleError(
            "the PRNet weights do not load", stage="weights", file=folder / "model.pt", expected=card, found=error
        ) from error
    network.to(device).eval()
    return trained


def trained_spacing_mm(prnet_dir: str | Path) -> list[float]:
    """Spacing (X, Y, Z) that the coarse network in `prnet_dir` was trained at.

    Raises:
        BundleError: there is no such network.
    """
    return read_json(Path(prnet_dir) / "coarse" / "model.json")["spacing_mm"]


def _demand_equal(key: str, wanted: Sequence[float] | None, card: dict[str, Any], folder: Path) -> None:
    found = card.get(key)
    if wanted is not None and (found is None or [float(v) for v in wanted] != [float(v) for v in found]):
        raise BundleError(
            f"the PRNet weights were trained with another {key}",
            stage="weights",
            file=folder / "model.json",
            expected=list(wanted),
            found=found,
        )
