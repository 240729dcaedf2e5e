"""What a round of label correction changed, by class and by case, as `flips.json` keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from scripts.segmentation.correction.guarded_round import GuardedRound

DIGITS = 6


def round_entry(
    epoch: int, delta: Sequence[float], names: Sequence[str], cases: Sequence[str], changes: torch.Tensor
) -> dict[str, Any]:
    """One entry of `flips.json`.

    Args:
        epoch: the round.
        delta: thresholds of the K + 1 classes.
        names: of these, background first.
        cases: in the order of `changes`.
        changes: (cases, K + 2, K + 2), see `count_changes`.
    """
    together = changes.sum(dim=0)
    by_case = {case: _changed(names, changes[index]) for index, case in enumerate(cases)}
    return {
        "round": epoch,
        "delta": dict(zip(names, (round(value, DIGITS) for value in delta), strict=True)),
        "flips": {name: _flips(together, k) for k, name in enumerate(names)},
        "decided": int(together[-1].sum()),
        "ignored": int(together[:, -1].sum()),
        "voxels": int(together.sum()),
        "cases": {case: classes for case, classes in by_case.items() if classes},
    }


def add_words(entry: dict[str, Any], guarded: GuardedRound, cases: Sequence[str]) -> None:
    """Say what the guarded rule decided: of each class, and of each case in which it decided otherwise."""
    entry["classes"] = guarded.words()
    for index, case in enumerate(cases):
        for name in entry["classes"]:
            words = guarded.words_of(index, name)
            if words is not None:
                entry["cases"].setdefault(case, {}).setdefault(name, {})["verdict"] = words


def summary(entry: dict[str, Any]) -> str:
    """A line for the log."""
    parts = (f"{name} +{flip['added']} -{flip['removed']}" for name, flip in entry["flips"].items())
    return f"{entry['voxels']} voxels flipped ({', '.join(parts)})"


def _changed(names: Sequence[str], changes: torch.Tensor) -> dict[str, dict[str, Any]]:
    flips = {name: _flips(changes, k) for k, name in enumerate(names) if k > 0}
    return {name: flip for name, flip in flips.items() if any(flip.values())}


def _flips(changes: torch.Tensor, k: int) -> dict[str, Any]:
    return {"added": int(changes[:, k].sum()), "removed": int(changes[k].sum())}
