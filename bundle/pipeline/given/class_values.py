"""The values of a label map that the user gave, against the classes of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scripts.common.errors import BundleError
from scripts.common.names import some_of

MOST_VALUES = 10  # that a sentence names


def refuse_values_of_no_class(array: np.ndarray, classes: Mapping[str, int], case: str, file: Path) -> list[str]:
    """Refuse a label map that holds something, but nothing of a class; else a sentence if it holds something beside.

    Args:
        array: (X, Y, Z) label values, 0 is background.
        classes: name -> label value.
        case: whose label map it is, for the message.
        file: for the message.

    Raises:
        BundleError: whoever numbers classes in another way would teach that there is none of them.
    """
    held = [int(value) for value in np.unique(array) if value != 0]
    others = some_of([str(value) for value in held if value not in classes.values()], MOST_VALUES)
    if others and not set(held) & set(classes.values()):
        raise BundleError(
            "no value of the label map is that of a class",
            case=case,
            stage="settings",
            file=file,
            expected=values_of(classes),
            found=f"values {others}",
        )
    return [f"values that are of no class are not taken: {others}"] if others else []


def absent_classes(array: np.ndarray, classes: Mapping[str, int]) -> list[str]:
    """A sentence if an accepted label map lacks classes: that they are absent is what the other cases learn.

    Args:
        array: (X, Y, Z) label values.
        classes: name -> label value.
    """
    lacking = lacking_classes(array, classes)
    return [f"no {', no '.join(lacking)} in it: taken for true, and the other cases learn from it"] if lacking else []


def lacking_classes(array: np.ndarray, classes: Mapping[str, int]) -> list[str]:
    """Names of the classes, name -> label value, that (X, Y, Z) label values hold no voxel of."""
    return [name for name, value in classes.items() if not (array == value).any()]


def classes_elsewhere(mask: np.ndarray, drawn: np.ndarray, classes: Mapping[str, int]) -> dict[str, str | None]:
    """Class -> where more than half of what was drawn of it lies in a mask, of classes whose own place that is not.

    Args:
        mask: (X, Y, Z) label values.
        drawn: (X, Y, Z) label values of the same grid; a class of which nothing was drawn is nowhere else.
        classes: name -> label value.

    Returns:
        The name of another class, or None: in no class, or in several.
    """
    elsewhere: dict[str, str | None] = {}
    for name, value in classes.items():
        under = mask[drawn == value]
        shares = {other: float(np.mean(under == label)) for other, label in classes.items()} if under.size else {}
        if shares and shares[name] < 0.5:
            elsewhere[name] = next((other for other, share in shares.items() if share > 0.5), None)
    return elsewhere


def exchanged_classes(before: np.ndarray, array: np.ndarray, classes: Mapping[str, int]) -> list[str]:
    """A sentence for each class of an accepted label map that lies where its case's had another one.

    Args:
        before: (X, Y, Z) label values, the case's label map as we made it.
        array: (X, Y, Z) label values of the same grid, as accepted.
        classes: name -> label value.
    """
    return [
        f"its {name} lies where {other} was: taken for a correction; look whether its values are {values_of(classes)}"
        for name, other in classes_elsewhere(before, array, classes).items()
        if other is not None
    ]


def values_of(classes: Mapping[str, int]) -> str:
    """In words, for messages."""
    return ", ".join(f"{name} {value}" for name, value in classes.items())
