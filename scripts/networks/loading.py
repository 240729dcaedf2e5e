"""Loading a trained network by its card: `model.pt` and `model.json` of one folder (see `write_model`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from scripts.common.errors import BundleError
from scripts.common.files import read_json

STAGE = "weights"

Card = Mapping[str, Any]


class Trained(Protocol):
    """A network with what its card says."""

    @property
    def network(self) -> nn.Module:
        """Built by the card; the weights are loaded into it."""


Result = TypeVar("Result", bound=Trained)


def read_card(folder: str | Path, weights: str, expected: Mapping[str, Sequence[float] | None]) -> Card:
    """The card of a trained network, without loading that.

    Args:
        folder: holds `model.pt` and `model.json`.
        weights: what they are, for messages, such as "PRNet weights".
        expected: key -> numbers that the caller works with; None takes what the card says.

    Raises:
        BundleError: a file is missing, the card is damaged, or it says something else than expected.
    """
    folder = Path(folder)
    for name in ("model.pt", "model.json"):
        if not (folder / name).is_file():
            raise BundleError(f"no {weights} here", stage=STAGE, file=folder / name, expected="a trained network")
    card: Card = read_json(folder / "model.json")
    for key, numbers in expected.items():
        trained = card.get(key)
        if numbers is not None and (trained is None or list(map(float, numbers)) != list(map(float, trained))):
            raise BundleError(
                f"the {weights} were trained with another {key}",
                stage=STAGE,
                file=folder / "model.json",
                expected=list(numbers),
                found=trained,
            )
    return card


def load_by_card(
    folder: str | Path, weights: str, card: Card, build: Callable[[Card], Result], device: str | torch.device
) -> Result:
    """A trained network in evaluation mode.

    Args:
        folder: holds `model.pt`.
        weights: what they are, for messages.
        card: see `read_card`.
        build: the network that a card describes, untrained.
        device: where the network goes.

    Raises:
        BundleError: the weights are damaged or do not fit the card.
    """
    file = Path(folder) / "model.pt"
    try:
        trained = build(card)
        trained.network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises many types for a damaged file
        raise BundleError(
            f"the {weights} do not load", stage=STAGE, file=file, expected=f"weights of {card}", found=error
        ) from error
    trained.network.to(device).eval()
    return trained


def three(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Three numbers of a card, X, Y, Z."""
    x, y, z = (float(number) for number in numbers)
    return x, y, z
