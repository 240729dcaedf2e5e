"""Dice, 95 % Hausdorff distance and surface Dice per case and class, on the full original grid."""

from __future__ import annotations

import csv
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from scripts.common.case_stage import joined
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import atomic_path, write_json
from scripts.data.reading.alignment import aligned
from scripts.data.stroke_classes import LARGEST_LABEL
from scripts.data.volume_io import Volume, find_label_maps, read_labels
from scripts.quality.class_scores import ClassScores, score_masks
from scripts.quality.exchanged_values import MOST_OWN, other_value, value_dice

logger = logging.getLogger(__name__)

STAGE = "evaluation"


class ClassSummary(TypedDict):
    """One class over all cases.

    Keys:
        *_mean, *_sd: over the cases that have a value; None without a value, or for sd without two.
        n: cases whose label has the class.
        absent: cases whose label lacks it.
        not_predicted: of those n the ones without a prediction of it.
    """

    dice_mean: float | None
    dice_sd: float | None
    hd95_mean_mm: float | None
    hd95_sd_mm: float | None
    surface_dice_2mm_mean: float | None
    surface_dice_2mm_sd: float | None
    n: int
    absent: int
    not_predicted: int


class Evaluation(TypedDict):
    """Scores of label maps, as `evaluate --json` writes them.

    Keys:
        cases: case -> class -> scores.
        classes: class -> summary.
        mean_dice: mean over classes of their mean Dice; None where no class has one.
    """

    cases: dict[str, dict[str, ClassScores]]
    classes: dict[str, ClassSummary]
    mean_dice: float | None


def evaluate_folder(
    predictions: str | Path,
    labels: str | Path,
    classes: Mapping[str, int],
    cases: Sequence[str] | None = None,
    json_file: str | Path | None = None,
    failed: dict[str, BundleError] | None = None,
    predicted_classes: Mapping[str, int] | None = None,
) -> Evaluation:
    """Compare label maps with labels, case by case, one at a time in memory.

    A class that the label lacks has no scores ("absent") and enters no mean. A class that is there but was not
    predicted has Dice and surface Dice 0 and no Hausdorff distance.

    Args:
        predictions: folder of label maps.
        labels: folder of labels on the same grids.
        classes: name -> value, in the labels, and in the predictions but for what `predicted_classes` says.
        cases: which to compare; by default every prediction that has a label.
        json_file: where the result goes, with a CSV of the same name beside it.
        failed: takes the cases that cannot be compared and why, the others are scored; None: the first one ends all.
        predicted_classes: name -> value in the predictions, of those with another one there.

    Raises:
        BundleError: nothing to compare, a case without prediction or label, segments of which none is called like a
            class, or grids that differ.
    """
    predicted, labelled = find_label_maps(predictions), find_label_maps(labels)
    ids = _cases_to_compare(predicted, labelled, cases, predictions, labels)
    in_predictions = {name: (predicted_classes or {}).get(name, value) for name, value in classes.items()}
    scores: dict[str, dict[str, ClassScores]] = {}
    fits: dict[str, list[Mapping[int, float]]] = {name: [] for name in classes}
    for case in ids:
        try:
            scores[case] = _evaluate_case(case, predicted[case], labelled[case], in_predictions, classes, fits)
        except BundleError as error:
            if failed is None:
                raise
            failed[case] = error
    if failed and not scores:
        raise joined(failed, STAGE, len(ids))
    _tell_other_values(fits, in_predictions)
    summary = {name: _summarise([row[name] for row in scores.values()]) for name in classes}
    means = [row["dice_mean"] for row in summary.values() if row["dice_mean"] is not None]
    result: Evaluation = {"cases": scores, "classes": summary, "mean_dice": statistics.fmean(means) if means else None}
    if json_file is not None:
        write_json(json_file, result)
        _write_csv(Path(json_file).with_suffix(".csv"), result)
    return result


def format_table(result: Evaluation) -> str:
    """The result of `evaluate_folder` as text: one row a class, mean and standard deviation over cases."""
    lines = [f"{'class':<24}{'n':>4}  {'Dice':>15}  {'HD95 mm':>15}  {'surface Dice 2 mm':>17}  remarks"]
    for name, row in result["classes"].items():
        cells = (
            _spread(row["dice_mean"], row["dice_sd"], 3),
            _spread(row["hd95_mean_mm"], row["hd95_sd_mm"], 1),
            _spread(row["surface_dice_2mm_mean"], row["surface_dice_2mm_sd"], 3),
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
        for files, folder, what in ((predicted, predictions, "prediction"), (labelled, labels, "label")):
            if case not in files:
                raise BundleError(f"the case has no {what}", case=case, stage=STAGE, file=folder)
    if not ids:
        raise BundleError(
            "no prediction has a label",
            stage=STAGE,
            file=predictions,
            expected=f"names as in {labels}: {', '.join(labelled) or 'none'}",
            found=", ".join(predicted) or "no label maps",
        )
    if cases is None:
        for what, files in (("labels without a prediction", labelled), ("predictions without a label", predicted)):
            if rest := sorted(set(files) - set(ids)):
                logger.warning("%s are not scored: %s", what, ", ".join(rest))
    return ids


def _tell_other_values(fits: Mapping[str, list[Mapping[int, float]]], in_predictions: Mapping[str, int]) -> None:
    """Warn of classes that have another value in the predictions: without a word their Dice would be about 0."""
    found = {name: other_value(fits[name], value) for name, value in in_predictions.items()}
    others = {name: value for name, value in found.items() if value is not None}
    if others:
        said = ",".join(f"{name}:{value}" for name, value in others.items())
        logger.warning("the predictions seem to have other values of these classes: --predicted-classes %s", said)


def _evaluate_case(
    case: str,
    prediction: Path,
    label: Path,
    in_predictions: Mapping[str, int],
    classes: Mapping[str, int],
    fits: Mapping[str, list[Mapping[int, float]]],
) -> dict[str, ClassScores]:
    """Scores by class; `fits` of the classes that the label has takes how well values of the prediction fit them."""
    with blamed(STAGE, case):
        predicted = read_labels(prediction, in_predictions)
        truth = read_labels(label, classes, (predicted.array.shape, predicted.affine))
    for file, volume in ((prediction, predicted), (label, truth)):
        for remark in volume.remarks:
            logger.warning("%s: %s: %s", case, file, remark)
    predicted, truth = _on_one_grid(case, prediction, predicted, truth)
    _judge_labels(case, prediction, predicted, in_predictions)
    _judge_labels(case, label, truth, classes)
    scores = {}
    for name, value in classes.items():
        mask, own = truth.array == value, in_predictions[name]
        scores[name] = score_masks(predicted.array == own, mask, truth.affine)
        if (dice := scores[name]["dice"]) is not None:
            fits[name].append(value_dice(predicted.array, mask) if dice <= MOST_OWN else {own: dice})
    return scores


def _judge_labels(case: str, file: Path, volume: Volume, classes: Mapping[str, int]) -> None:
    """Refuse what is an image, and say of a label map that it holds none of the classes."""
    lowest, highest = int(volume.array.min()), int(volume.array.max())
    if lowest < 0 or highest > LARGEST_LABEL + 1:
        raise BundleError(
            "this is no label map",
            case=case,
            stage=STAGE,
            file=file,
            expected=f"values from 0 to {LARGEST_LABEL + 1}; give a folder of label maps, not of images",
            found=f"values from {lowest} to {highest}",
        )
    if not np.isin(volume.array, list(classes.values())).any():
        held = ", ".join(map(str, np.unique(volume.array)[:10]))
        logger.warning("%s: %s holds none of the classes, only values %s", case, file, held)


def _on_one_grid(case: str, file: Path, predicted: Volume, truth: Volume) -> tuple[Volume, Volume]:
    """Prediction and label on the prediction's grid."""
    if (turned := aligned(truth, predicted.array.shape, predicted.affine)) is not None:
        return predicted, turned
    if predicted.array.shape != truth.array.shape:
        raise BundleError(
            "prediction and label have different sizes",
            case=case,
            stage=STAGE,
            file=file,
            expected=truth.array.shape,
            found=predicted.array.shape,
        )
    raise BundleError(
        "prediction and label lie at different places",
        case=case,
        stage=STAGE,
        file=file,
        expected=f"affine {truth.affine[:3].tolist()}",
        found=predicted.affine[:3].tolist(),
    )


def _summarise(rows: Sequence[ClassScores]) -> ClassSummary:
    dice_mean, dice_sd = _mean_and_sd([row["dice"] for row in rows])
    hd95_mean_mm, hd95_sd_mm = _mean_and_sd([row["hd95_mm"] for row in rows])
    surface_mean, surface_sd = _mean_and_sd([row["surface_dice_2mm"] for row in rows])
    status = [row["status"] for row in rows]
    return {
        "dice_mean": dice_mean,
        "dice_sd": dice_sd,
        "hd95_mean_mm": hd95_mean_mm,
        "hd95_sd_mm": hd95_sd_mm,
        "surface_dice_2mm_mean": surface_mean,
        "surface_dice_2mm_sd": surface_sd,
        "n": len(rows) - status.count("absent"),
        "absent": status.count("absent"),
        "not_predicted": status.count("not predicted"),
    }


def _mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    present = [value for value in values if value is not None]
    return (
        statistics.fmean(present) if present else None,
        statistics.stdev(present) if len(present) > 1 else None,
    )


def _write_csv(path: Path, result: Evaluation) -> None:
    rows = [{"case": c, "class": n, **row} for c, by_class in result["cases"].items() for n, row in by_class.items()]
    columns = ["case", "class", *ClassScores.__annotations__]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _spread(mean: float | None, sd: float | None, digits: int) -> str:
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"
