"""Loading a trained network by its card: `model.pt` and `model.json` of one folder (see `write_model`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.common.errors import BundleError
from scripts.common.files import load_tensors
from scripts.common.schema import BOOLEAN, CT, MODALITY, Kind, check_table, list_of, number, read_checked, shown, whole
from scripts.networks.weight_layout import Network, on_device

STAGE = "weights"
MOST_CHANNELS = 1024  # of one resolution
SPACING_MM = list_of(number(20.0), 3, 3)
WINDOW = list_of(whole(1, 512), 3, 3)  # voxels

UNSAID = {"modality": CT, "bias_correction": True, "parts": {}}  # what cards of earlier versions do not say
IMAGES = {"modality": MODALITY, "bias_correction": BOOLEAN}

Card = Mapping[str, Any]


def read_card(
    folder: str | Path,
    weights: str,
    schema: Mapping[str, Kind],
    expected: Mapping[str, Sequence[float] | None] | None = None,
) -> Card:
    """The card of a trained network, without loading that.

    Args:
        folder: holds `model.pt` and `model.json`.
        weights: what they are, "KIND weights", such as "PRNet weights".
        schema: key -> what the card must say there; other keys are not looked at.
        expected: key -> numbers that the caller works with; None takes what the card says.

    Raises:
        BundleError: a file is missing, the card is damaged, of a network of another kind, or it says something else
            than expected.

    Returns:
        What it says; what cards of earlier versions do not say, in any case.
    """
    folder = Path(folder)
    for name in ("model.pt", "model.json"):
        if not (folder / name).is_file():
            below = _networks_below(folder, weights, schema)
            words = "a trained network" + (f", such as that in {below[0]}" if below else "")
            raise BundleError(f"no {weights} here", stage=STAGE, file=folder / name, expected=words)
    file = folder / "model.json"
    card = checked_card(file, weights, schema)
    for key, numbers in (expected or {}).items():
        if numbers is not None and list(map(float, numbers)) != list(map(float, card[key])):
            raise BundleError(
                f"the {weights} were trained with another {key}",
                stage=STAGE,
                file=file,
                expected=list(numbers),
                found=card[key],
            )
    return card


def checked_card(file: Path, weights: str, schema: Mapping[str, Kind]) -> dict[str, Any]:
    """What one card says, whether there are weights beside it or not; see `read_card`.

    Raises:
        BundleError: the card is missing, damaged, or of a network of another kind.
    """
    problem = f"the card of the {weights} is damaged"
    card: dict[str, Any] = UNSAID | read_checked(file, {}, problem, STAGE)
    _refuse_other_kind(card, weights, file)
    check_table(card, {**schema, **IMAGES}, file, problem, STAGE)
    return card


def _refuse_other_kind(card: Card, weights: str, file: Path) -> None:
    """Refuse the card of a network of another kind; one that names none is taken."""
    kind = card.get("kind")
    if kind is not None and f"{kind} weights" != weights.lower():
        raise BundleError(
            f"these are no {weights}",
            stage=STAGE,
            file=file,
            expected=f"the folder of {weights}",
            found=f"kind: {shown(kind)}",
        )


def _networks_below(folder: Path, weights: str, schema: Mapping[str, Kind]) -> list[Path]:
    """Sub-folders that hold a network whose card says what `schema` asks for."""
    found = []
    for file in sorted(folder.glob("*/model.pt")):
        with suppress(BundleError):
            checked_card(file.with_name("model.json"), weights, schema)
            found.append(file.parent)
    return found


def check_modality(folder: str | Path, weights: str, modality: str) -> None:
    """Refuse a network that was trained on another modality than the volumes are of.

    Args:
        folder: see `read_card`.
        weights: see `read_card`.
        modality: of the volumes, "ct" or "mr".

    Raises:
        BundleError: it was.
    """
    trained = read_card(folder, weights, {})["modality"]
    if trained != modality:
        raise BundleError(
            f"the {weights} were trained on {trained.upper()}, and the volumes are {modality.upper()}",
            stage=STAGE,
            file=Path(folder) / "model.json",
            expected=f"weights of {modality.upper()}, or none, so that a network is trained on these volumes; if the "
            f"volumes are {trained.upper()} all the same, --modality {trained}",
        )


def without_bias_field(folder: str | Path, weights: str) -> bool:
    """Whether a network was trained on MR whose bias field was divided out.

    Args:
        folder: see `read_card`.
        weights: see `read_card`.
    """
    return bool(read_card(folder, weights, {})["bias_correction"])


def load_by_card(
    folder: str | Path, weights: str, card: Card, build: Callable[[Card], Network], device: str | torch.device
) -> Network:
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
    state = fitting_weights(folder, weights, card, build)
    network = build(card)
    network.load_state_dict(state)
    return on_device(network, device).eval()


def fitting_weights(
    folder: str | Path, weights: str, card: Card, build: Callable[[Card], nn.Module]
) -> Mapping[str, torch.Tensor]:
    """The weights in `model.pt`, which are those of the card's network; that takes no memory before they are.

    Raises:
        BundleError: see `load_by_card`.
    """
    file = Path(folder) / "model.pt"
    try:
        state = load_tensors(file)
        with torch.device("meta"):
            expected = _shapes(build(card).state_dict())
        found = _shapes(state)
    except Exception as error:  # a damaged file, or a network that cannot be
        raise _misfit(weights, file, "weights of the network in model.json", error) from error
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise _misfit(weights, file, f"{name}: {expected.get(name)}", f"{name}: {found.get(name)}")
    return dict(state)


def three(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Three numbers of a card, X, Y, Z."""
    x, y, z = (float(number) for number in numbers)
    return x, y, z


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Name -> type and shape, in words. Weights may be stored in half precision."""
    return {name: f"{_type(tensor)} {list(tensor.shape)}" for name, tensor in state.items()}


def _type(tensor: torch.Tensor) -> str:
    return "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _misfit(weights: str, file: Path, expected: str, found: object) -> BundleError:
    return BundleError(f"the {weights} do not load", stage=STAGE, file=file, expected=expected, found=found)
