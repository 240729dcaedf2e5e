"""What is data and what is code in a config: data reach a run as they are, and only what is marked is evaluated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from scripts.common.errors import BundleError

EVALUATED = "$"
PLAIN = re.compile(r"[\w./ -]*", re.ASCII)  # texts in which MONAI's parser sees nothing
PLAIN_KEY = re.compile(r"[A-Za-z0-9]\w*", re.ASCII)  # not `_target_`, `a#b`, `+a`
DEEPEST = 20  # tables and lists in one another


class Expression(str):
    """`$...`, which MONAI evaluates: our own code's, or typed on the user's own command line; never from a file.

    Raises:
        ValueError: a text that is no expression.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Expression:
        if not text.startswith(EVALUATED):
            raise ValueError(f"no expression: {text!r}")
        return super().__new__(cls, text)


class Component(dict[str, Any]):
    """`_target_` and its arguments, which MONAI builds: our own code's."""


def typed_overrides(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """["segmentation.max_epochs=5"] -> {"segmentation": {"max_epochs": 5}}; `$...` is an expression, the rest data.

    Raises:
        BundleError: a setting is not STAGE.KEY=VALUE.
    """
    typed: dict[str, list[tuple[str, Any]]] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        stage, dot, key = place.partition(".")
        if not (equals and dot and key):
            raise BundleError("cannot read --set", stage="settings", expected="STAGE.KEY=VALUE", found=setting)
        value = Expression(text) if text.startswith(EVALUATED) else _json_or_text(text)
        typed.setdefault(stage, []).append((key, value))
    return {stage: last_of_each(pairs) for stage, pairs in typed.items()}


def last_of_each(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Key -> its last value, which also has the last place: another key between may name the same place in a config."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        table.pop(key, None)
        table[key] = value
    return table


def as_config(value: Any) -> Any:
    """A value as a config holds it, so that a run gets exactly this value, whatever texts and keys are in it.

    MONAI's parser evaluates `$...`, looks `@...` up, copies `%...` in, builds what has a `_target_`, and writes `#` as
    `::` in every text. A value in which it could find any of these becomes an expression that is nothing but this
    value, spelt out in escapes.

    Args:
        value: made of None, booleans, numbers, texts, lists and tables; `Expression` and `Component` are left alone.

    Raises:
        ValueError: a number that is not finite, or too many lists in one another.
        TypeError: something else.
    """
    if isinstance(value, Expression | Component):
        return value
    literal = _literal(value, DEEPEST)
    return deepcopy(value) if _is_plain(value) else EVALUATED + literal


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return PLAIN.fullmatch(value) is not None
    if isinstance(value, Mapping):
        keys = all(isinstance(key, str) and PLAIN_KEY.fullmatch(key) for key in value)
        return keys and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else True


def _literal(value: Any, depth: int) -> str:
    """Python that evaluates to `value` and holds no other sign than letters, digits, and those of the language."""
    if depth < 0:
        raise ValueError(f"more than {DEEPEST} lists or tables in one another")
    if isinstance(value, str):
        return "'" + "".join(map(_escaped, value)) + "'"
    if isinstance(value, Mapping):
        pairs = (f"{_literal(key, depth - 1)}: {_literal(item, depth - 1)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item, depth - 1) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} is no data of a config")


def _escaped(sign: str) -> str:
    return sign if sign.isascii() and sign.isalnum() else f"\\U{ord(sign):08x}"


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
