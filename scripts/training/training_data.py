"""What a training learns from, noted in its checkpoints: one that goes on with something else says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.common.names import some_of

MOST_NAMES = 5

DataMarks = dict[str, dict[str, str | None]]  # case -> "label": of its label map and which classes count; "image"


def data_marks(engine: Engine) -> DataMarks | None:
    """Of the items of a training's dataset; None where they are no cases with images."""
    items = getattr(getattr(engine.state.dataloader, "dataset", None), "data", None)
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, Mapping) for item in items):
        return None
    if not all("case" in item or "image" in item for item in items):
        return None
    return {_name(item): {"label": _label_mark(item), "image": item.get("image_sha256")} for item in items}


def data_changes(before: Mapping[str, Any], now: DataMarks) -> list[str]:
    """What differs, in words; nothing where nothing does. Marks of earlier versions are of label maps alone."""
    known = {case: {"label": mark} if isinstance(mark, str) else mark for case, mark in before.items()}
    shared = [case for case in now if case in known]
    differences = {
        "cases that came": [case for case in now if case not in known],
        "cases that are gone": [case for case in known if case not in now],
        "other label maps": [case for case in shared if known[case]["label"] != now[case]["label"]],
        "other images": [case for case in shared if _is_other_image(known[case], now[case])],
    }
    return [f"{what}: {some_of(cases, MOST_NAMES)}" for what, cases in differences.items() if cases]


def _name(item: Mapping[str, Any]) -> str:
    return str(item["case"]) if "case" in item else Path(str(item["image"])).name


def _is_other_image(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> bool:
    """Not where one of both does not say which image it is."""
    images = {before.get("image"), now["image"]}
    return len(images) == 2 and None not in images


def _label_mark(item: Mapping[str, Any]) -> str:
    return sha256_of_settings([_label(item), list(item.get("not_located") or [])])


def _label(item: Mapping[str, Any]) -> str | None:
    file = item.get("label")
    return sha256_of_file(file) if isinstance(file, (str, Path)) and Path(file).is_file() else None
