"""Promotion of a benchmark's networks to the named sets that `--weights` finds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.benchmark.pages import run_name
from bundle.benchmark.trained import ONE_SHOT, SUPERVISED
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import CARD_KEYS, numbered
from bundle.pipeline.pipeline import Pipeline
from scripts.common.files import atomic_path, read_json, write_json

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
        error_mm = _last_validation(source / "curve.csv", "val_offset_error_mm")
        scores = {"val_offset_error_mm": error_mm, "points_tau_0.5": _points(result)}
        _copy(source, target / name, result["dataset"], result["stages"][f"prnet_{name}"], scores)
    return target


def ship_embedding(work_dir: Path, result: Mapping[str, Any], models: Path = MODELS) -> Path:
    """Copy `embedding` of a work directory to `models/NAME`, data and scores added to the card.

    Args:
        work_dir: of the benchmark.
        result: what the benchmark measured so far.
        models: where named sets live.
    """
    target = models / result["dataset"]
    source = work_dir / "embedding"
    masks = {run_name(run): run["pseudo_labels"]["mean_dice"] for run in result["runs"]}
    scores = {"val_match_error_mm": _last_validation(source / "curve.csv", "val_match_error_mm"), "mask_dice": masks}
    _copy(source, target / "embedding", result["dataset"], result["stages"]["embedding"], scores)
    return target


def ship_segmentation(
    pipeline: Pipeline, variant: str, result: Mapping[str, Any], models: Path = MODELS
) -> Path | None:
    """Copy a trained segmentation network to `models/model.pt`, if it is the one that `configs/inference.json` is for.

    Label values become 1 to K in the order of the channels, as MONAI Label wants them.

    Args:
        pipeline: that trained it.
        variant: of the training.
        result: what the benchmark measured; `result["networks"]` holds the network's scores.
        models: where networks live.

    Returns:
        The copy; None if the network has other classes or another shape than the config describes.
    """
    source = pipeline.output / variant / "segmentation"
    card = numbered(read_json(source / "model.json"))
    described = read_json(BUNDLE_ROOT / "configs" / "inference.json")
    if any(card[key] != described[key] for key in CARD_KEYS):
        return None
    names = (ONE_SHOT, f"{ONE_SHOT}_joined", SUPERVISED)
    measured = {name: result["networks"][name]["mean_dice"] for name in names if name in result["networks"]}
    stage = pipeline.directory.state()[f"segmentation_{variant}"]
    _copy(source, models, result["dataset"], stage, {"mean_dice": measured}, card)
    return models / "model.pt"


def _copy(
    source: Path,
    target: Path,
    cohort: str,
    stage: Mapping[str, Any],
    scores: Mapping[str, Any],
    card: Mapping[str, Any] | None = None,
) -> None:
    with atomic_path(target / "model.pt") as temporary:
        shutil.copyfile(source / "model.pt", temporary)
    data = {"cohort": cohort, "labels_used": "none", "stage": stage}
    card = card or read_json(source / "model.json")
    write_json(target / "model.json", {**card, "data": data, "scores": scores})


def _last_validation(curve: Path, column: str) -> float | None:
    with curve.open(newline="") as file:
        values = [row.get(column) for row in csv.DictReader(file)]
    measured = [float(value) for value in values if value]
    return measured[-1] if measured else None


def _points(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    wanted = ("dual", 0.5, None)
    rows = (row for row in result["points"] if (row["rule"], row["tau"], row["tissue_tolerance"]) == wanted)
    return {row["class"]: {"kept": row["kept_mean"], "in_the_right_organ": row["precision_mean"]} for row in rows}
