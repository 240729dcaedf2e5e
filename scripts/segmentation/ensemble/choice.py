"""Of two label maps of a case each class from the one that the self-check trusts more: the transferred one, or that
which network and atlases make together. A network that learned too little is then of no harm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from scripts.common.errors import BundleError


@dataclass(frozen=True)
class ChoiceSettings:
    """When a class of the network and the atlases together counts.

    Attributes:
        least_dice_gain: predicted Dice by which it must be better than the transferred one; below 0 it may be worse by
            as much.
    """

    least_dice_gain: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.least_dice_gain <= 1:
            raise BundleError(
                "least_dice_gain is out of range", stage="choice", expected="-1 to 1", found=self.least_dice_gain
            )


def transferred_classes(
    joined: Mapping[str, float], transferred: Mapping[str, float], settings: ChoiceSettings
) -> list[str]:
    """The classes that stay as they were transferred.

    Args:
        joined: class -> predicted Dice in the label map of network and atlases.
        transferred: the same in the transferred label map.
        settings: the limit.
    """
    return [name for name, dice in joined.items() if dice - transferred[name] < settings.least_dice_gain]


def with_classes_of(label: np.ndarray, other: np.ndarray, values: Collection[int]) -> np.ndarray:
    """(X, Y, Z) label values with some classes as in another label map, where no other class of the first one is.

    Args:
        label: (X, Y, Z) label values.
        other: the same of the other label map, on the same grid.
        values: label values that are taken from there.
    """
    chosen = list(values)
    result = np.where(np.isin(label, chosen), 0, label)
    taken = np.isin(other, chosen) & (result == 0)
    result[taken] = other[taken]
    return result
