"""What tests look for in a config: its components, and what in it refers to what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bundle.pipeline.configs import CONFIGS
from bundle.pipeline.stages import BASES

# Config files that together run; what patches them is none of these.
WHOLE = [
    *(names for names in BASES.values() if '"run"' in (CONFIGS / names[-1]).read_text(encoding="utf-8")),
    ["evaluate.json"],
    ["inference_oneshot.json"],
]
REFERENCE = re.compile(r"@(\w+)")


def components(level: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, component) of everything that a config instantiates."""
    if isinstance(level, dict) and "_target_" in level:
        yield path, level
    items = level.items() if isinstance(level, dict) else enumerate(level) if isinstance(level, list) else ()
    for key, value in items:
        yield from components(value, f"{path}#{key}".removeprefix("#"))


def texts(level: Any) -> Iterator[str]:
    """Every text in a config but keys."""
    if isinstance(level, str):
        yield level
    for value in level.values() if isinstance(level, dict) else level if isinstance(level, list) else ():
        yield from texts(value)


def references(config: Mapping[str, Any]) -> list[str]:
    """The keys that the config's texts refer to, as often as they do."""
    return [name for text in texts(dict(config)) for name in REFERENCE.findall(text)]


def is_value(level: Any) -> bool:
    """Whether this is a plain value: no component, expression or reference in it."""
    if isinstance(level, dict):
        return "_target_" not in level and all(map(is_value, level.values()))
    if isinstance(level, list):
        return all(map(is_value, level))
    return not (isinstance(level, str) and level.startswith(("$", "@")))
