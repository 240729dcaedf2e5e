"""How the run went: training curves, label correction, scores, time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundle.report import charts
from bundle.report.markup import MISSING, Markup, duration, number, paragraph, section, spoken, table
from bundle.report.run import Run, read_curve, tolerant
from scripts.common.files import read_json

NOT_SCORED = (
    "There are no scores with true labels of these label maps; evaluate --json report/metrics.json writes them, and "
    "report shows them here."
)
SCORES = (("dice", "Dice", 3), ("hd95_mm", "HD95, mm", 1), ("surface_dice_2mm", "Surface Dice at 2 mm", 3))


def trainings(run: Run) -> Markup:
    """Training curves of the mode's networks."""
    parts: list[str] = []
    for title, folder in _networks(run).items():
        columns = read_curve(folder / "curve.csv")
        parts.append(Markup(f"<h3>{title}</h3>\n"))
        if not any(column not in charts.NOT_A_CURVE for column in columns):
            name = folder.relative_to(run.folder.path)
            parts.append(paragraph(f"No training curve in {name}: this network was not trained in this run."))
            continue
        seconds = columns.get("seconds", np.array([np.nan]))[-1]
        took = f" in {duration(seconds)}" if np.isfinite(seconds) else ""
        parts += [
            paragraph(f"{len(next(iter(columns.values())))} epochs{took}."),
            charts.curves(columns, [*run.classes]),
        ]
    return section("training", "Training", *parts)


def _networks(run: Run) -> dict[str, Path]:
    """Title -> folder of the networks that the mode trains, in order."""
    folder = run.folder
    embedding = {"Embedding network": folder.embedding}
    positions = {
        "Coarse position network": folder.prnet / "coarse",
        "Fine position network": folder.prnet / "fine",
    }
    by_mode = {"paper": positions, "default": embedding}
    return by_mode.get(run.choices.mode or "paper", {}) | {"Segmentation network": folder.segmentation}


def label_correction(run: Run) -> Markup:
    """How many voxels the label correction flipped in each round."""
    title = "Label correction"
    rounds, _ = tolerant(read_json, run.folder.segmentation / "flips.json")
    if not rounds:
        return section("flips", title, paragraph("Label correction did not run: no flips are recorded."))
    columns = ("Epoch", "Confidence threshold", "Added to a class", "Removed from a class", "Voxels changed")
    rows = [_flip_row(entry) for entry in rounds]
    details = Markup(f"<details><summary>All {len(rounds)} rounds</summary>{table(columns, rows)}</details>\n")
    note = paragraph(
        "While the network learns, it corrects the labels that it learns from where it is confident. Voxels changed, "
        "at the training resolution, all cases together."
    )
    return section("flips", title, note, charts.flips(rounds), details)


def _flip_row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    flips = [flip for name, flip in entry.get("flips", {}).items() if name != "background"]
    added, removed = (sum(flip.get(way, 0) for flip in flips) for way in ("added", "removed"))
    thresholds = sorted({f"{delta:.3f}" for delta in entry.get("delta", {}).values()})
    return (
        entry.get("round", MISSING),
        " to ".join(dict.fromkeys([thresholds[0], thresholds[-1]])) if thresholds else MISSING,
        added,
        removed,
        entry.get("voxels", MISSING),
    )


def times(run: Run) -> Markup:
    """Time and peak memory of the stages."""
    if not run.times:
        return section("times", "Time and memory", paragraph("No times are recorded: there is no state.json."))
    longest = max(time.seconds for time in run.times) or 1.0
    rows = []
    for time in run.times:
        bar = Markup(f'<span class="bar-box"><span style="width:{100 * time.seconds / longest:.1f}%"></span></span>')
        memory = MISSING if time.peak_memory_mb is None else f"{time.peak_memory_mb:.0f} MB"
        rows.append((time.stage, "done" if time.done else "unfinished", duration(time.seconds), bar, memory))
    total = duration(sum(time.seconds for time in run.times))
    peaks = [time.peak_memory_mb for time in run.times if time.peak_memory_mb is not None]
    summary = f"{total} altogether" + (f", at most {max(peaks):.0f} MB of memory." if peaks else ".")
    return section(
        "times", "Time and memory", paragraph(summary), table(("Stage", "", "Time", "", "Peak memory"), rows)
    )


def metrics(run: Run) -> Markup:
    """The scores of `report/metrics.json`, which `evaluate --json` wrote, per class; each case tells its own."""
    title = "Scores with true labels"
    content = _scores(run)
    if not isinstance(content.get("classes"), dict):
        return section("metrics", title, paragraph(NOT_SCORED))
    summary = [(spoken(name), *_class_scores(row)) for name, row in content["classes"].items()]
    mean = content.get("mean_dice")
    names = [title for _, title, _ in SCORES]
    note = "Full original grid, mean ± standard deviation over the cases that have the organ."
    note += "" if mean is None else f" Mean Dice over organs {mean:.3f}."
    columns = ("Organ", *names, "Cases", "Absent", "Not predicted")
    return section("metrics", title, paragraph(note), table(columns, summary))


def case_scores(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """Case -> class -> its scores, if there are any."""
    cases = _scores(run).get("cases")
    scored = cases if isinstance(cases, dict) else {}
    return {case: scores for case, scores in scored.items() if isinstance(scores, dict)}


def _scores(run: Run) -> dict[str, Any]:
    """What `report/metrics.json` says; nothing if a label map is newer than it."""
    file = run.folder.report / "metrics.json"
    content, _ = tolerant(read_json, file)
    if not isinstance(content, dict):
        return {}
    scored_ns = file.stat().st_mtime_ns
    maps = run.results.path.glob("*.nii.gz")
    return {} if any(label.stat().st_mtime_ns > scored_ns for label in maps) else content


def _class_scores(row: Mapping[str, Any]) -> list[object]:
    cells: list[object] = []
    for key, _, digits in SCORES:
        stem, unit = (key.removesuffix("_mm"), "_mm") if key == "hd95_mm" else (key, "")
        mean, sd = row.get(f"{stem}_mean{unit}"), row.get(f"{stem}_sd{unit}")
        cells.append(number(mean, digits) + ("" if sd is None else f" ± {sd:.{digits}f}"))
    return [*cells, *(row.get(key, MISSING) for key in ("n", "absent", "not_predicted"))]
