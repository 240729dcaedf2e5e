"""What a JSON file that we read may hold: kinds of values, and one error that names file, key and both sides."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.names import CLASS_NAME, is_class_name, is_writable

LONGEST_FOUND = 100  # signs of a wrong value that a message shows
LARGEST_VALUE = 255  # label maps are uint8
CT, MR = "ct", "mr"


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    Attributes:
        words: for messages.
        fits: whether a value is of this kind; takes anything.
    """

    words: str
    fits: Callable[[Any], bool]


def whole(least: int, most: int) -> Kind:
    """A whole number, both ends included."""
    return Kind(
        f"a whole number, {least} to {most}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
    )


def number(most: float) -> Kind:
    """A number above 0."""
    return Kind(f"a number above 0, at most {most:g}", lambda value: is_finite(value) and 0 < value <= most)


def list_of(kind: Kind, least: int, most: int) -> Kind:
    """A list of `least` to `most` values of one kind."""
    count = f"{least}" if least == most else f"{least} to {most}"
    return Kind(
        f"a list of {count}, each {kind.words}",
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(kind.fits, value)),
    )


def one_of(*texts: str) -> Kind:
    """One of some texts."""
    return Kind(" or ".join(texts), lambda value: isinstance(value, str) and value in texts)


def either(*kinds: Kind) -> Kind:
    """Of any of these kinds."""
    return Kind(" or ".join(kind.words for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def table_of(kind: Kind) -> Kind:
    """A table with values of one kind."""
    return Kind(f"a table of {kind.words}", lambda value: _is_table(value) and all(map(kind.fits, value.values())))


def is_finite(value: Any) -> bool:
    """Whether this is a number, no boolean, and finite."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_classes(value: Any) -> bool:
    """Whether these are one to 255 classes with a value each."""
    values = whole(1, LARGEST_VALUE)
    if not _is_table(value) or not value:
        return False
    good = all(is_class_name(name) and values.fits(number) for name, number in value.items())
    return good and len(set(value.values())) == len(value)


BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
NULL = Kind("null", lambda value: value is None)
LINE = Kind("a text of one line", lambda value: isinstance(value, str) and bool(value) and is_writable(value))
TEXT = Kind("a text", lambda value: isinstance(value, str))
FINITE = Kind("a number", is_finite)
MODALITY = one_of(CT, MR)
ANYTHING = Kind("anything", lambda _: True)
CLASSES = Kind(f"classes, each {CLASS_NAME}, with values of their own, 1 to {LARGEST_VALUE}", _are_classes)


def read_checked(file: str | Path, schema: Mapping[str, Kind], problem: str, stage: str) -> dict[str, Any]:
    """A JSON file that holds a table; see `check_table`.

    Raises:
        BundleError: the file is missing, is no JSON, lacks a key, or a value is of another kind.
    """
    expected = "a table" + (f" with {', '.join(schema)}" if schema else "")
    try:
        content = read_json(file)
    except BundleError as error:
        if not Path(file).exists():
            raise
        raise BundleError(problem, stage=stage, file=file, expected=expected, found=error.found) from error
    if not isinstance(content, dict):
        raise BundleError(problem, stage=stage, file=file, expected=expected, found=shown(content))
    check_table(content, schema, file, problem, stage)
    return content


def check_table(
    content: Mapping[str, Any],
    schema: Mapping[str, Kind],
    file: str | Path,
    problem: str,
    stage: str,
    closed: bool = False,
) -> None:
    """Refuse what a file should not hold.

    Args:
        content: of the file.
        schema: key -> kind; what may be null may be missing.
        file: for the message.
        problem: for the message.
        stage: that reads it.
        closed: whether other keys are refused, too.

    Raises:
        BundleError: a key is missing or unknown, or a value is of another kind.
    """
    for key, kind in schema.items():
        if not kind.fits(content.get(key)):
            found = f"{key}: {shown(content[key])}" if key in content else f"no {key}"
            raise BundleError(problem, stage=stage, file=file, expected=f"{key}: {kind.words}", found=found)
    if closed and (unknown := sorted(set(content) - set(schema))):
        expected = f"no other keys than {', '.join(schema)}"
        raise BundleError(problem, stage=stage, file=file, expected=expected, found=shown(unknown))


def shown(value: Any) -> str:
    """A value from a file, short enough for a message."""
    try:
        text = json.dumps(value, default=repr)
    except (RecursionError, ValueError):  # too deep, or a whole number too long to print
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}..."
