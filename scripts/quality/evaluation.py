"""Dice, 95 % Hausdorff distance and surface Dice per case and class, on the full original grid."""

from __future__ import annotations

import csv
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, write_json
from scripts.data.volume_io import Volume, find_volumes, read_labels

logger = logging.getLogger(__name__)

STAGE = "evaluation"
SURFACE_TOLERANCE_MM = 2.0
AFFINE_TOLERANCE_MM = 1e-3
CROP_MARGIN_VOXELS = 2
METRICS = ("dice", "hd95_mm", "surface_dice_2mm")


def evaluate_folder(
    predictions: str | Path,
    labels: str | Path,
    classes: Mapping[str, int],
    cases: Sequence[str] | None = None,
    json_file: str | Path | None = None,
) -> dict[str, Any]:
    """Compare label maps with labels, case by case, one at a time in memory.

    A class that the label lacks has no scores ("absent") and enters no mean. A class that is there but was not
    predicted has Dice and surface Dice 0 and no Hausdorff distance.

    Args:
        predictions: folder of label maps.
        labels: folder of labels on the same grids.
        classes: name -> value, the same in both.
        cases: which to compare; by default every prediction that has a label.
        json_file: where the result goes, with a CSV of the same name beside it.

    Returns:
        {"cases": {id: {class: {"dice", "hd95_mm", "surface_dice_2mm", "status", "absent", "label_ml",
        "predicted_ml"}}}, "classes": {class: {"dice_mean", "dice_sd", "hd95_mean_mm", "hd95_sd_mm",
        "surface_dice_2mm_mean", "surface_dice_2mm_sd", "n", "absent", "not_predicted"}}, "mean_dice"}. Status is "ok",
        "absent" or "not predicted"; "mean_dice" is the mean over classes of their mean Dice.

    Raises:
        BundleError: nothing to compare, a case without prediction or label, or grids that differ.
    """
    predicted, labelled = find_volumes(predictions), find_volumes(labels)
    ids = _cases_to_compare(predicted, labelled, cases, predictions, labels)
    scores = {case: _evaluate_case(case, predicted[case], labelled[case], classes) for case in ids}
    summary = {name: _summarise([scores[case][name] for case in ids]) for name in classes}
    means = [row["dice_mean"] for row in summary.values() if row["dice_mean"] is not None]
    result = {"cases": scores, "classes": summary, "mean_dice": statistics.fmean(means) if means else None}
    if json_file is not None:
        write_json(json_file, result)
        _write_csv(Path(json_file).with_suffix(".csv"), result)
    return result


def score_masks(predicted: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Scores of one class from two (X, Y, Z) bool masks; distances in mm.

    Volumes are cropped to the box around both masks first, which changes nothing but the time.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    scores: dict[str, Any] = dict.fromkeys(METRICS)
    in_label, in_prediction = int(label.sum()), int(predicted.sum())
    if not in_label:
        scores |= {"status": "absent", "absent": True}
    elif not in_prediction:
        scores |= {"dice": 0.0, "surface_dice_2mm": 0.0, "status": "not predicted", "absent": False}
    else:
        box = _box(predicted | label)
        scores |= _distances(predicted[box], label[box], spacing_mm) | {"status": "ok", "absent": False}
    return scores | {"label_ml": in_label * voxel_ml, "predicted_ml": in_prediction * voxel_ml}


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `evaluate_folder` as text: one row a class, mean and standard deviation over cases."""
    lines = [f"{'class':<24}{'n':>4}  {'Dice':>15}  {'HD95 mm':>15}  {'surface Dice 2 mm':>17}  remarks"]
    for name, row in result["classes"].items():
        cells = (
            _mean_and_sd(row["dice_mean"], row["dice_sd"], 3),
            _mean_and_sd(row["hd95_mean_mm"], row["hd95_sd_mm"], 1),
            _mean_and_sd(row["surface_dice_2mm_mean"], row["surface_dice_2mm_sd"], 3),
        )
        counts = {"absent": row["absent"], "not predicted": row["not_predicted"]}
        remarks = ", ".join(f"{word} in {count}" for word, count in counts.items() if count)
        lines.append(f"{name:<24}{row['n']:>4}  {cells[0]:>15}  {cells[1]:>15}  {cells[2]:>17}  {remarks}".rstrip())
    mean = "-" if result["mean_dice"] is None else f"{result['mean_dice']:.3f}"
    return "\n".join([*lines, f"mean Dice over classes {mean}, {len(result['cases'])} cases"])


def _cases_to_compare(
    predicted: Mapping[str, Path],
    labelled: Mapping[str, Path],
    cases: Sequence[str] | None,
    predictions: str | Path,
    labels: str | Path,
) -> list[str]:
    ids = [case for case in predicted if case in labelled] if cases is None else list(cases)
    for case in ids:
        for found, folder, what in ((predicted, predictions, "prediction"), (labelled, labels, "label")):
            if case not in found:
                raise BundleError(f"the case has no {what}", case=case, stage=STAGE, file=folder)
    if not ids:
        raise BundleError(
            "no prediction has a label",
            stage=STAGE,
            file=predictions,
            expected=f"names as in {labels}: {', '.join(labelled) or 'none'}",
            found=", ".join(predicted) or "no label maps",
        )
    if cases is None and (rest := sorted(set(labelled) - set(ids))):
        logger.warning("labels without a prediction are not scored: %s", ", ".join(rest))
    return ids


def _evaluate_case(case: str, prediction: Path, label: Path, classes: Mapping[str, int]) -> dict[str, Any]:
    predicted, truth = read_labels(prediction), read_labels(label)
    _demand_same_grid(case, prediction, predicted, truth)
    return {
        name: score_masks(predicted.array == value, truth.array == value, truth.spacing_mm)
        for name, value in classes.items()
    }


def _demand_same_grid(case: str, file: Path, predicted: Volume, truth: Volume) -> None:
    if predicted.array.shape != truth.array.shape:
        raise BundleError(
            "prediction and label have different sizes",
            case=case,
            stage=STAGE,
            file=file,
            expected=truth.array.shape,
            found=predicted.array.shape,
        )
    if not np.allclose(predicted.affine, truth.affine, atol=AFFINE_TOLERANCE_MM, rtol=0):
        raise BundleError(
            "prediction and label lie at different places",
            case=case,
            stage=STAGE,
            file=file,
            expected=f"affine {truth.affine[:3].tolist()}",
            found=predicted.affine[:3].tolist(),
        )


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(used[0]) - CROP_MARGIN_VOXELS, 0), int(used[-1]) + CROP_MARGIN_VOXELS + 1))
    return tuple(box)


def _distances(predicted: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    y_pred, y = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (predicted, label))
    spacing = [float(step) for step in spacing_mm]
    hd95 = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=spacing)
    surface = compute_surface_dice(y_pred, y, [SURFACE_TOLERANCE_MM], include_background=True, spacing=spacing)
    dice = compute_dice(y_pred.float(), y.float(), include_background=True)
    return {"dice": dice.item(), "hd95_mm": hd95.item(), "surface_dice_2mm": surface.item()}


def _summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for metric, mean, sd in (
        ("dice", "dice_mean", "dice_sd"),
        ("hd95_mm", "hd95_mean_mm", "hd95_sd_mm"),
        ("surface_dice_2mm", "surface_dice_2mm_mean", "surface_dice_2mm_sd"),
    ):
        values = [row[metric] for row in rows if row[metric] is not None]
        summary[mean] = statistics.fmean(values) if values else None
        summary[sd] = statistics.stdev(values) if len(values) > 1 else None
    status = [row["status"] for row in rows]
    absent, missed = status.count("absent"), status.count("not predicted")
    return summary | {"n": len(rows) - absent, "absent": absent, "not_predicted": missed}


def _write_csv(path: Path, result: Mapping[str, Any]) -> None:
    rows = [{"case": c, "class": n, **row} for c, by_class in result["cases"].items() for n, row in by_class.items()]
    columns = ["case", "class", *METRICS, "status", "absent", "label_ml", "predicted_ml"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _mean_and_sd(mean: float | None, sd: float | None, digits: int) -> str:
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"
