"""Promotion of a benchmark's networks to the named sets that `--weights` finds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.benchmark.results import ENSEMBLE, ONE_SHOT, SUPERVISED, Results
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import CARD_KEYS, numbered
from bundle.pipeline.modes import of_configuration
from scripts.common.files import atomic_path, read_json, write_json
from scripts.common.work_folder import WorkFolder
from scripts.networks.loading import UNSAID

MODELS = BUNDLE_ROOT / "models"
SHIPPED_TAU = 0.5  # the paper's rule, of which a PRNet's card says what it keeps


def ship_prnets(work_dir: Path, results: Results, models: Path = MODELS) -> Path:
    """Copy `prnet/{coarse,fine}` of a work directory to the set of weights of the cohort; cards get data and scores.

    Args:
        work_dir: of the benchmark.
        results: what `benchmark paper` measured.
        models: where named sets live.
    """
    target = _set_of_weights(results, models)
    for name in ("coarse", "fine"):
        source = WorkFolder(work_dir).prnet / name
        error_mm = _last_validation(source / "curve.csv", "val_offset_error_mm")
        scores = {"val_offset_error_mm": error_mm, f"points_tau_{SHIPPED_TAU}": _points(results)}
        _copy(source, target / name, _cohort(results), _stage(results, "unlabelled", f"prnet_{name}"), scores)
    return target


def ship_embedding(work_dir: Path, results: Results, models: Path = MODELS) -> Path:
    """Copy `embedding` of a work directory to the set of weights of the cohort; the card gets data and scores.

    Args:
        work_dir: of the benchmark.
        results: what `benchmark default` measured so far.
        models: where named sets live.
    """
    target = _set_of_weights(results, models)
    source = WorkFolder(work_dir).embedding
    masks = {run["name"]: run["scores"]["mean_dice"] for run in results.of("run")}
    scores = {"val_match_error_mm": _last_validation(source / "curve.csv", "val_match_error_mm"), "mask_dice": masks}
    _copy(source, target / "embedding", _cohort(results), _stage(results, "embedding", "embedding"), scores)
    return target


def ship_segmentation(work_dir: Path, variant: str, results: Results, models: Path = MODELS) -> Path | None:
    """Copy a trained segmentation network to `models/model.pt`, if it is the one that `configs/inference.json` is for.

    Label values become 1 to K in the order of the channels, as MONAI Label wants them.

    Args:
        work_dir: in which it was trained.
        variant: of the training.
        results: what the benchmark measured, the network's scores among it.
        models: where networks live.

    Returns:
        The copy; None if the network has other classes or another shape than the config describes.
    """
    source = WorkFolder(work_dir / variant).segmentation
    card = numbered(UNSAID | read_json(source / "model.json"))
    described = read_json(BUNDLE_ROOT / "configs" / "inference.json")
    if any(card[key] != described[key] for key in CARD_KEYS):
        return None
    lines = {name: results.get("network", name) for name in (ONE_SHOT, ENSEMBLE, SUPERVISED)}
    measured = {name: line["scores"]["mean_dice"] for name, line in lines.items() if line is not None}
    stage = _stage(results, ONE_SHOT, f"segmentation_{variant}")
    _copy(source, models, _cohort(results), stage, {"mean_dice": measured}, card)
    return models / "model.pt"


def _set_of_weights(results: Results, models: Path) -> Path:
    return of_configuration(models / _cohort(results), results.head["configuration"] == "small")


def _cohort(results: Results) -> str:
    return str(results.head["name"])


def _stage(results: Results, name: str, stage: str) -> Mapping[str, Any]:
    """What a stage took."""
    line = results.get("stages", name)
    return {} if line is None else line["stages"].get(stage, {})


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
    with curve.open(encoding="utf-8", newline="") as file:
        values = [row.get(column) for row in csv.DictReader(file)]
    measured = [float(value) for value in values if value]
    return measured[-1] if measured else None


def _points(results: Results) -> dict[str, dict[str, float | None]]:
    """Class -> share kept, and share of these in the right organ, by the paper's rule."""
    rule = ("dual", SHIPPED_TAU, None)
    rows = (row for row in results.of("points") if (row["rule"], row["tau"], row["tissue_tolerance"]) == rule)
    return {row["class"]: {"kept": row["kept_mean"], "in_the_right_organ": row["precision_mean"]} for row in rows}
