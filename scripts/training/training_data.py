"""What a training learns from, noted in its checkpoints: one that goes on with something else says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.common.names import some_of

MOST_NAMES = 5

DataMarks = dict[str, str]  # case -> fingerprint of its label map, and of which of its classes count


def data_marks(engine: Engine) -> DataMarks | None:
    """Of the items of a training's dataset; None where they are no cases with images."""
    items = getattr(getattr(engine.state.dataloader, "dataset", None), "data", None)
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, Mapping) for item in items):
        return None
    if not all("case" in item or "image" in item for item in items):
        return None
    return {_name(item): sha256_of_settings([_label(item), list(item.get("not_located") or [])]) for item in items}


def data_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, in words; nothing where nothing does."""
    differences = {
        "cases that came": [case for case in now if case not in before],
        "cases that are gone": [case for case in before if case not in now],
        "other label maps": [case for case in now if before.get(case, now[case]) != now[case]],
    }
    return [f"{what}: {some_of(cases, MOST_NAMES)}" for what, cases in differences.items() if cases]


def _name(item: Mapping[str, Any]) -> str:
    return str(item["case"]) if "case" in item else Path(str(item["image"])).name


def _label(item: Mapping[str, Any]) -> str | None:
    file = item.get("label")
    return sha256_of_file(file) if isinstance(file, (str, Path)) and Path(file).is_file() else None
