"""How far a training is, as viewers show it, and what an earlier one left undone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from bundle.folder_lock import only_command_in
from bundle.progress.stage import DONE, FINISHED, RUNNING, STOPPED
from scripts.common.errors import BundleError
from scripts.common.files import read_json

STEPS = 100  # viewers draw a share of so many "epochs"


def read_progress(file: Path) -> dict[str, Any] | None:
    """What docs/progress.schema.json says; None where there is no such file, or a damaged one."""
    try:
        return dict(read_json(file)) if file.exists() else None
    except (BundleError, TypeError, ValueError):
        return None


def train_stats(progress: Mapping[str, Any] | None, mean_dice: float | None, is_running: bool) -> dict[str, Any]:
    """What 3D Slicer and OHIF read: "epoch" of "total_epochs", "best_metric", and "total_time" of what has ended.

    Args:
        progress: see `read_progress`.
        mean_dice: mean predicted Dice of the labels that the studies have; None without labels.
        is_running: whether a training of this server is at work.

    Returns:
        An empty dictionary where nothing was ever trained.
    """
    stats: dict[str, Any] = {} if mean_dice is None else {"best_metric": round(mean_dice, 4)}
    if progress is None:
        return {**stats, "epoch": 0, "total_epochs": STEPS} if is_running else stats
    done = int(STEPS * progress["share"])
    if is_running:
        return {
            **stats,
            "epoch": min(done, STEPS - 1),
            "total_epochs": STEPS,
            "stage": stage_in_words(progress),
            "seconds_left": progress["seconds_left"],
            "stages_not_estimated": progress["stages_not_estimated"],
        }
    ended = {"total_time": str(timedelta(seconds=round(progress["seconds"])))}
    done = done if progress["state"] == FINISHED else min(done, STEPS - 1)
    return {**stats, "epoch": done, "total_epochs": STEPS, "stage": stage_in_words(progress), **ended}


def stage_in_words(progress: Mapping[str, Any]) -> str:
    """Such as "3 of 14: labels sent from the support alone, 2 of 8 cases"; after all, what is still to be written."""
    stages = progress["stages"]
    active = [number for number, stage in enumerate(stages) if stage["state"] in (RUNNING, STOPPED)]
    done = [number for number, stage in enumerate(stages) if stage["state"] == DONE]
    if not stages:
        return ""
    if len(done) == len(stages) and progress["state"] != FINISHED:
        return f"{len(stages)} of {len(stages)} done: DICOM, tables and report to be written"
    number = active[0] if active else done[-1] if done else 0
    stage = stages[number]
    counted = f", {stage['done']} of {stage['total']} {stage['unit']}" if stage["unit"] else ""
    return f"{number + 1} of {len(stages)}: {stage.get('work') or stage['name']}{counted}"


def is_done(progress: Mapping[str, Any] | None, stage: str) -> bool:
    """Whether a stage of the run at work has ended."""
    return progress is not None and any(row["name"] == stage and row["state"] == DONE for row in progress["stages"])


def left_over(run: Path, progress: Mapping[str, Any] | None, given_back: bool) -> str | None:
    """A sentence on a training that no server watches any more; None where there is nothing to go on with.

    Args:
        run: its output folder.
        progress: see `read_progress`.
        given_back: whether the studies have what the last training made.
    """
    if progress is None:
        return None if given_back else "An earlier training was interrupted before its first stage. Press Train."
    if progress["state"] == FINISHED and given_back:
        return None
    where = stage_in_words(progress)
    try:
        with only_command_in(run):
            if progress["state"] == FINISHED:
                return (
                    "An earlier training was interrupted while it gave its labels back. Press Train: it does so again."
                )
            return f"An earlier training was interrupted (stage {where}). Press Train: it goes on from there."
    except BundleError as error:
        return (
            f"An earlier training still works (stage {where}; {error.found}). Wait for it, or end it, then press Train."
        )
