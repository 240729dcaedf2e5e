"""Texts that are code to somebody who evaluates them, and JSON with one of them in every place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

RAN: list[str] = []  # what was evaluated


def fire(*_: Any, **__: Any) -> str:
    """What the planted texts call."""
    RAN.append("fired")
    return "fired"


CALL = "__import__('tests.hostile.payload', fromlist=['fire']).fire()"
TEXTS = (
    f"${CALL}",
    "$import tests.hostile.payload",
    "$",
    "@device",
    "@bundle_root",
    "@nothing",
    "@##device",
    "%device",
    "%#device",
    "%train.json#seed",
    "_target_",
    "_disabled_",
    "a#b",
    "a::b",
    "+run",
    "~root",
    "'\"\\",
    "{}[]()",
    "$%s {0}",
    "Köln 肝 🫀",
    "line\nbreak",
    "\x1b[31m",
    "not UTF-8 \udcff",
    "",
)
NAMES = tuple(text for text in TEXTS if text and text.isprintable())  # that files may have
COMPONENT = {"_target_": "tests.hostile.payload.fire"}
VALUES = (*TEXTS, COMPONENT, [COMPONENT], None, True, -1, 0, 1.5, 10**9, 10**400, float("nan"), float("inf"), [], {})


def planted(level: Any, evil: Any) -> Iterator[Any]:
    """JSON with `evil` instead of every value, and instead of every key where it is a text."""
    yield evil
    if isinstance(level, dict):
        for key, value in level.items():
            for changed in planted(value, evil):
                yield {**level, key: changed}
            if isinstance(evil, str):
                yield {evil if other == key else other: kept for other, kept in level.items()}
    if isinstance(level, list):
        for place, value in enumerate(level):
            for changed in planted(value, evil):
                yield [*level[:place], changed, *level[place + 1 :]]
