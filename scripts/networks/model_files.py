"""A trained network on disk: `model.pt`, a flat state dict, and `model.json`, a card that says what it is."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import monai
import torch

from scripts.common.errors import BundleError
from scripts.common.files import load_tensors, read_json, write_json, write_weights

logger = logging.getLogger(__name__)


def write_model(folder: str | Path, network: torch.nn.Module, card: dict[str, Any]) -> None:
    """Write `model.pt` and `model.json` into `folder`, the card last: with it the model counts as finished.

    The card is completed by the versions of torch and MONAI, the device and, in a checkout, the commit.
    """
    folder = Path(folder)
    write_weights(folder / "model.pt", getattr(network, "module", network))
    made_with = {"torch": torch.__version__, "monai": monai.__version__, "device": _device(network)}
    write_json(folder / "model.json", card | {"made_with": made_with | {"commit": _commit()}})


def write_trained(folder: str | Path, network: torch.nn.Module, card: dict[str, Any]) -> None:
    """As `write_model`, at the end of a training; one that found nothing left to train leaves the card as it is.

    The folder then holds these very weights, and its card says how they were made: settings may have changed since.
    """
    before = _card_of(Path(folder), getattr(network, "module", network))
    if before is None:
        write_model(folder, network, card)
        return
    now = json.loads(json.dumps(card))
    if changed := [key for key in now if key in before and before[key] != now[key]]:
        words = "nothing was trained: %s stays as it is, although %s changed since"
        logger.warning(words, Path(folder) / "model.json", ", ".join(changed))


def _card_of(folder: Path, network: torch.nn.Module) -> dict[str, Any] | None:
    """What the card in a folder says; None unless it stands beside these very weights."""
    try:
        held, card = load_tensors(folder / "model.pt"), read_json(folder / "model.json")
    except (BundleError, OSError, ValueError):
        return None
    ours = network.state_dict()
    if not isinstance(held, dict) or not isinstance(card, dict) or set(held) != set(ours):
        return None
    return card if all(torch.equal(held[name], tensor.cpu()) for name, tensor in ours.items()) else None


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
