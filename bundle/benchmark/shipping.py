"""Promotion of a benchmark's PRNets to the named sets that `--weights` finds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.run_config import BUNDLE_ROOT
from scripts.files import atomic_path, read_json, write_json

MODELS = BUNDLE_ROOT / "models"


def ship_prnets(work_dir: Path, result: Mapping[str, Any], models: Path = MODELS) -> Path:
    """Copy `prnet/{coarse,fine}` of a work directory to `models/NAME`, data and scores added to the cards.

    Args:
        work_dir: of the benchmark.
        result: what the benchmark measured.
        models: where named sets live.
    """
    target = models / result["dataset"]
    for name in ("coarse", "fine"):
        source = work_dir / "prnet" / name
        with atomic_path(target / name / "model.pt") as temporary:
            shutil.copyfile(source / "model.pt", temporary)
        scores = {"val_offset_error_mm": _last_validation(source / "curve.csv"), "points_tau_0.5": _points(result)}
        data = {"cohort": result["dataset"], "labels_used": "none", "stage": result["stages"][f"prnet_{name}"]}
        write_json(target / name / "model.json", read_json(source / "model.json") | {"data": data, "scores": scores})
    return target


def _last_validation(curve: Path) -> float | None:
    with curve.open(newline="") as file:
        values = [row.get("val_offset_error_mm") for row in csv.DictReader(file)]
    measured = [float(value) for value in values if value]
    return measured[-1] if measured else None


def _points(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    wanted = ("dual", 0.5, None)
    rows = (row for row in result["points"] if (row["rule"], row["tau"], row["tissue_tolerance"]) == wanted)
    return {row["class"]: {"kept": row["kept_mean"], "in_the_right_organ": row["precision_mean"]} for row in rows}
