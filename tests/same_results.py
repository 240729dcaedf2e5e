"""Whether two work directories hold the same results, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scripts.common.made_of import content_of

# Of one run alone: when, how long and where; what networks are made of on the way.
OF_A_RUN = {"state.json", "progress.json", "run.json", "cohort.json", "curve.csv", "made_of.json", "made_by"}
FOLDERS_OF_A_RUN = {"report", "tensorboard", "checkpoints", "cache"}


def results(folder: Path) -> dict[str, Path]:
    """Path below the work directory -> file, of all that counts."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        str(name): path
        for name, path in files.items()
        if not (FOLDERS_OF_A_RUN & set(name.parts) or name.name in OF_A_RUN)
    }


def differing(folder: Path, other: Path) -> list[str]:
    """Names of the results that only one of them has, or that are not the same."""
    ours, theirs = results(folder), results(other)
    lonely = sorted(set(ours) ^ set(theirs))
    return lonely + [name for name in ours if name in theirs and not _same(ours[name], theirs[name])]


def _same(file: Path, other: Path) -> bool:
    if file.suffix == ".json":
        return _content(file) == _content(other)
    if file.suffix != ".pt":
        return file.read_bytes() == other.read_bytes()
    weights, others = (torch.load(path, weights_only=True) for path in (file, other))
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


def _content(file: Path) -> Any:
    text = file.read_text(encoding="utf-8").lstrip()
    return content_of(file) if text.startswith("{") else text


def written_after(folder: Path, time_ns: int) -> set[str]:
    """Names of the results that were written after a moment."""
    return {name for name, path in results(folder).items() if path.stat().st_mtime_ns > time_ns}
