"""A trained network on disk: `model.pt`, a flat state dict, and `model.json`, a card that says what it is."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import monai
import torch

from scripts.common.files import write_json, write_weights


def write_model(folder: str | Path, network: torch.nn.Module, card: dict[str, Any]) -> None:
    """Write `model.pt` and `model.json` into `folder`, the card last: with it the model counts as finished.

    The card is completed by the versions of torch and MONAI, the device and, in a checkout, the commit.
    """
    folder = Path(folder)
    write_weights(folder / "model.pt", getattr(network, "module", network))
    made_with = {"torch": torch.__version__, "monai": monai.__version__, "device": _device(network)}
    write_json(folder / "model.json", card | {"made_with": made_with | {"commit": _commit()}})


def _device(network: torch.nn.Module) -> str:
    """A GPU's name, or "cpu"."""
    device = next(network.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _commit() -> str | None:
    """The checkout's commit, with "-dirty" after it if tracked files differ; None outside a checkout.

    An installed package may lie in the checkout of something else, which does not track it.
    """
    file = Path(__file__)
    tracked = ["git", "ls-files", "--error-unmatch", file.name]
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in (tracked, describe):
            done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
