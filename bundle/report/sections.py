"""The page's sections about the run as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from bundle.report import charts
from bundle.report.collect import CaseResult, Run, is_phantom, optional_json, propagation_of, read_curve
from bundle.report.markup import (
    MISSING,
    Markup,
    definition_list,
    duration,
    escape,
    number,
    paragraph,
    section,
    swatch,
    table,
)
from bundle.report.pictures import SMALLEST_VIEW_MM, STROKE_SLAB_MM, colours_of, three_planes, view_around, whole_view
from bundle.report.trouble import MINIMUM_COHORT, RULE, Ranked, spoken
from bundle.report.volumes import open_image, open_labels
from scripts.errors import BundleError

TRAININGS = (
    ("Coarse position network", "prnet/coarse"),
    ("Fine position network", "prnet/fine"),
    ("Segmentation network", "segmentation"),
)
SUPPORT_VIEW_MM = 1.6 * SMALLEST_VIEW_MM


def header(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """What this run was."""
    warning = ""
    if is_phantom(run):
        text = "Synthetic phantom: these volumes are computer-made. Nothing here says how the method does on patients."
        warning = paragraph(text, "phantom")
    return Markup(
        "<header><h1>One-shot CT segmentation: report of a run</h1>\n"
        + paragraph("Research use only, not for diagnosis.", "warning")
        + warning
        + definition_list(_facts(run, results))
        + _assumptions(run)
        + _rejected(run)
        + "</header>\n"
    )


def _facts(run: Run, results: Mapping[str, CaseResult]) -> dict[str, object]:
    colours = colours_of(run.classes)
    classes = ", ".join(swatch(colours[name], f"{spoken(name)} = {value}") for name, value in run.classes.items())
    background = run.cohort.get("background")
    strokes = "" if background is None else f"; background strokes = {background}"
    spacing = run.cohort.get("spacing_mm")
    counts = {"propagated": sum(result.propagated for result in results.values())}
    counts["with pseudo label"] = sum("pseudo" in result.maps for result in results.values())
    counts["with prediction"] = sum("prediction" in result.maps for result in results.values())
    return {
        "Mode": _mode(run),
        "Classes": Markup(classes + escape(strokes)) if classes else "not recorded",
        "Support": run.support or "none",
        "Cases": f"{len(run.case_ids)}: " + ", ".join(f"{count} {what}" for what, count in counts.items()),
        "True labels": _labels_fact(run),
        "Working spacing": " × ".join(f"{s:g}" for s in spacing) + " mm" if spacing else "not recorded",
        "Dates": _dates(run),
    }


def _labels_fact(run: Run) -> str:
    if run.labels:
        return f"given for {len(run.labels)} cases, for scoring only"
    return "not given; everything below is judged without them"


def _mode(run: Run) -> str:
    files = ("cohort.json", "state.json", "segmentation/model.json", "prnet/coarse/model.json")
    contents = (optional_json(run.output_dir / file) for file in files)
    mode = next((c["mode"] for c in contents if isinstance(c, dict) and isinstance(c.get("mode"), str)), None)
    propagation = next(filter(None, (propagation_of(run, case) for case in run.case_ids)), {})
    if "rule" not in propagation:
        return mode or "not recorded"
    rule = f"denoising rule {propagation['rule']}"
    if propagation.get("levels"):
        rule += f" (levels {', '.join(propagation['levels'])}"
        rule += f", score above {propagation['tau']:g})" if "tau" in propagation else ")"
    return f"{mode}; {rule}" if mode else f"name not recorded; {rule}"


def _dates(run: Run) -> str:
    parts = []
    if (run.output_dir / "cohort.json").exists():
        parts.append(f"volumes prepared {_date(run.output_dir / 'cohort.json')}")
    results = [p for d in ("propagation", "pseudo_labels", "predictions") for p in (run.output_dir / d).glob("*")]
    if results:
        parts.append(f"last result {_date(max(results, key=lambda path: path.stat().st_mtime))}")
    return "; ".join([*parts, f"report written {datetime.now().astimezone():%Y-%m-%d %H:%M}"])


def _date(path: Path) -> str:
    return f"{datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).astimezone():%Y-%m-%d %H:%M}"


def _assumptions(run: Run) -> Markup:
    sentences = [*(run.cohort.get("assumptions") or ()), *run.notes]
    if not run.cohort:
        sentences.append(
            "There is no readable cohort.json, so images, support and classes are known from results only."
        )
    if not sentences:
        return Markup("")
    items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences)
    return Markup(f"<h3>Assumed and noticed</h3><ul>{items}</ul>\n")


def _rejected(run: Run) -> Markup:
    rejected = run.cohort.get("rejected") or {}
    if not rejected:
        return Markup("")
    rows = [(case, entry.get("reason", MISSING), entry.get("file", MISSING)) for case, entry in rejected.items()]
    return Markup(f"<h3>Volumes left out ({len(rows)})</h3>\n" + table(("Volume", "Reason", "File"), rows))


def look_first(ranking: Sequence[Ranked], anchors: Mapping[str, str]) -> Markup:
    """The cases to look at first, why, and the rule."""
    troubled = [entry for entry in ranking if entry.total > 0]
    rows = []
    for place, entry in enumerate(troubled, start=1):
        reasons = "".join(f"<li>{escape(sign.reason)}</li>" for sign in entry.signs)
        rows.append((place, _link(entry.case, anchors), f"{entry.total:.1f}", Markup(f"<ul>{reasons}</ul>")))
    clear = [_link(entry.case, anchors) for entry in ranking if entry.total == 0]
    shown = table(("", "Case", "Weight", "Signs of trouble"), rows, "look") if rows else ""
    calm = Markup(f"<p>Without a sign of trouble ({len(clear)}): {', '.join(clear)}.</p>\n") if clear else Markup("")
    nothing = paragraph("No case shows a sign of trouble. That is no proof of quality.") if not rows else ""
    rule = Markup(
        "<details><summary>How cases are ranked</summary>"
        + paragraph(
            "No true label enters. Every sign of trouble has a weight per class; a case's weights are added up. Robust "
            "z is 0.6745 × (value − median) ÷ median absolute deviation over the cohort (the latter at least 0.05), "
            f"used from {MINIMUM_COHORT} cases on. A case without a result for a sign is not judged by it, so "
            "unfinished cases rank low. A case without any sign can still be wrong."
        )
        + table(("Sign, for each class", "Weight"), [(sign, Markup(escape(weight))) for sign, weight in RULE])
        + "</details>\n"
    )
    return section("look-first", "Cases to look at first", nothing, shown, calm, rule)


def _link(case: str, anchors: Mapping[str, str]) -> Markup:
    return Markup(f'<a href="#{anchors[case]}">{escape(case)}</a>')


def support(run: Run, pixels: int) -> Markup:
    """The support with its strokes, three planes for every class."""
    title = "Support and its scribbles"
    scribbles_path, image_path = run.existing(run.cohort.get("scribbles")), run.image(run.support or "")
    if run.support is None or scribbles_path is None or image_path is None:
        missing = "No support is recorded" if run.support is None else "The support's image or scribbles are gone"
        return section("support", title, paragraph(f"{missing}, so there is nothing to show here."))
    try:
        image, scribbles = open_image(image_path), open_labels(scribbles_path)
    except BundleError as error:
        return section("support", title, paragraph(f"The support cannot be shown: {error}"))
    intro = paragraph(
        f"Strokes within {STROKE_SLAB_MM:g} mm of each slice, in the class's colour; background strokes are grey. The "
        "slices run through the longest strokes of the class."
    )
    colours = colours_of(run.classes)
    painted = {label: colours[name] for name, label in run.classes.items()}
    labels = [*run.classes.items(), ("background", None)]
    rows = []
    for name, label in labels:
        mask = np.isin(scribbles.array, [0, *painted], invert=True) if label is None else scribbles.array == label
        heading = f"<h3>{swatch(colours[name], spoken(name))} <small>{_stroke_facts(mask)}</small></h3>\n"
        if mask.any():
            view = _stroke_view(mask, image, whole=label is None)
            heading += three_planes(image, view, pixels, strokes=(scribbles, painted, colours["background"]))
        rows.append(Markup(heading))
    return section("support", title, intro, *rows)


def _stroke_facts(mask: np.ndarray) -> str:
    return f"{int(np.count_nonzero(mask)):,} voxels drawn".replace(",", " ") if mask.any() else "nothing drawn"


def _stroke_view(mask: np.ndarray, image: Any, whole: bool) -> Any:
    voxels = np.argwhere(mask)
    slices = [int(np.argmax(np.bincount(voxels[:, axis]))) for axis in range(3)]
    if whole:
        return whole_view(image, slices)
    return view_around(voxels.min(axis=0), voxels.max(axis=0), slices, image, SUPPORT_VIEW_MM)


def classes_overview(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """One line per class over the whole cohort."""
    colours = colours_of(run.classes)
    rows = []
    for name in run.classes:
        found = [result.classes[name] for case, result in results.items() if case != run.support]
        propagated = [result for result in found if result.points is not None]
        located = sum(not result.not_located for result in propagated)
        row = [
            swatch(colours[name], spoken(name)),
            f"{located} of {len(propagated)}" if propagated else MISSING,
            _percent(_median([result.kept_share for result in propagated])),
            number(_median([result.score for result in propagated])),
            number(_median([result.agreement for result in found])),
            _range([result.final_volume_ml for result in found if result.final_volume_ml]),
        ]
        if run.labels:
            row += [
                _spread([result.dice.get((which, "truth")) for result in found]) for which in ("pseudo", "prediction")
            ]
        rows.append(row)
    columns = ["Class", "Located", "Points kept", "Score", "Dice pseudo ~ prediction", "Volume, ml (range)"]
    columns += ["Dice pseudo ~ true", "Dice prediction ~ true"] if run.labels else []
    note = paragraph(
        "Medians over the cases, the support left out"
        + ("; Dice against true labels as mean ± standard deviation (cases)." if run.labels else ".")
    )
    return section("classes", "Classes over the cohort", note, table(columns, rows))


def _median(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.median(present)) if present else None


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def _range(values: Sequence[float]) -> str:
    return f"{np.median(values):.0f} ({min(values):.0f} to {max(values):.0f})" if values else MISSING


def _spread(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{np.mean(present):.3f} ± {np.std(present):.3f} ({len(present)})" if present else MISSING


def trainings(run: Run) -> Markup:
    """Training curves of the three networks."""
    parts = []
    for title, folder in TRAININGS:
        columns = read_curve(run.output_dir / folder / "curve.csv")
        parts.append(Markup(f"<h3>{title}</h3>\n"))
        if not any(column not in charts.NOT_A_CURVE for column in columns):
            parts.append(paragraph(f"No training curve in {folder}: this network was not trained in this run."))
            continue
        seconds = columns.get("seconds", np.array([np.nan]))[-1]
        took = f" in {duration(seconds)}" if np.isfinite(seconds) else ""
        parts += [
            paragraph(f"{len(next(iter(columns.values())))} epochs{took}."),
            charts.curves(columns, [*run.classes]),
        ]
    return section("training", "Training", *parts)


def label_correction(run: Run) -> Markup:
    """How many voxels the label correction flipped in each round."""
    title = "Label correction"
    rounds = optional_json(run.output_dir / "segmentation" / "flips.json")
    if not rounds:
        return section("flips", title, paragraph("No flips are recorded: label correction did not run."))
    columns = ("Round", "Confidence asked", "Added", "Removed", "Share of all voxels")
    rows = [_flip_row(entry) for entry in rounds]
    details = Markup(f"<details><summary>All {len(rounds)} rounds</summary>{table(columns, rows)}</details>\n")
    note = paragraph("Voxels of the pseudo labels flipped by a confident prediction, all training cases together.")
    return section("flips", title, note, charts.flips(rounds, colours_of(run.classes)), details)


def _flip_row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    flips = entry.get("flips", {})
    added = sum(flip.get("added", 0) for flip in flips.values())
    removed = sum(flip.get("removed", 0) for flip in flips.values())
    deltas = entry.get("delta", {})
    deltas = deltas if isinstance(deltas, dict) else {"all": deltas}
    asked = sorted({f"{delta:.3f}" for delta in deltas.values()})
    share = f"{(added + removed) / entry['voxels']:.3%}" if entry.get("voxels") else MISSING
    return (
        entry.get("round", MISSING),
        " to ".join({asked[0]: 0, asked[-1]: 0}) if asked else MISSING,
        added,
        removed,
        share,
    )


def times(run: Run) -> Markup:
    """Time and peak memory of the stages."""
    stages = {name: entry for name, entry in run.state.items() if isinstance(entry, dict) and "seconds" in entry}
    if not stages:
        return section("times", "Time and memory", paragraph("No times are recorded: there is no state.json."))
    longest = max(float(entry["seconds"]) for entry in stages.values()) or 1.0
    rows = []
    for name, entry in stages.items():
        seconds, memory = float(entry["seconds"]), entry.get("peak_memory_mb")
        bar = Markup(f'<span class="bar-box"><span style="width:{100 * seconds / longest:.1f}%"></span></span>')
        done = "done" if entry.get("done") else "unfinished"
        rows.append((name, done, duration(seconds), bar, MISSING if memory is None else f"{memory:.0f} MB"))
    total = duration(sum(float(entry["seconds"]) for entry in stages.values()))
    peaks = [entry["peak_memory_mb"] for entry in stages.values() if entry.get("peak_memory_mb") is not None]
    summary = f"{total} altogether" + (f", at most {max(peaks):.0f} MB of memory." if peaks else ".")
    return section(
        "times", "Time and memory", paragraph(summary), table(("Stage", "", "Time", "", "Peak memory"), rows)
    )


def metrics(run: Run) -> Markup:
    """The evaluation's tables."""
    content = optional_json(run.output_dir / "report" / "metrics.json")
    if not isinstance(content, dict):
        return section("metrics", "Metrics", paragraph("No report/metrics.json: nothing was scored with true labels."))
    note = paragraph("Scored on the full original grid. A dash means: no number, for instance an absent class.")
    return section("metrics", "Metrics", note, *_metric_tables(content, run))


def _metric_tables(content: Mapping[str, Any], run: Run) -> list[Markup]:
    """A table for each part of the JSON, whatever its depth; single values come first."""
    single = {_title(key): _value(value) for key, value in content.items() if not isinstance(value, dict | list)}
    parts = [definition_list(single)] if single else []
    for key, value in content.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            value = {str(n): row for n, row in enumerate(value, start=1)}
        if not isinstance(value, dict) or not value:
            continue
        by_case = set(value) <= set(run.case_ids) or "case" in key.lower()
        rows = _metric_rows(value, keys=2 if by_case and _depth(value) > 2 else 1)
        body = _rows_table(rows)
        if by_case:
            body = Markup(f"<details><summary>{len(value)} cases</summary>{body}</details>\n")
        parts.append(Markup(f"<h3>{escape(_title(key))}</h3>\n{body}"))
    return parts


def _depth(value: object) -> int:
    return 1 + max((_depth(v) for v in value.values()), default=0) if isinstance(value, dict) else 0


def _metric_rows(value: Mapping[str, Any], keys: int) -> list[tuple[tuple[str, ...], dict[str, object]]]:
    """(row names, {column: value}) with nested column names joined."""
    if _depth(value) == 1:
        return [((), dict(value))]
    rows = []
    for name, inner in value.items():
        inner = inner if isinstance(inner, dict) else {"value": inner}
        if keys > 1 and _depth(inner) > 1:
            rows += [((name, *names), cells) for names, cells in _metric_rows(inner, keys - 1)]
        else:
            rows.append(((name,), _flat(inner)))
    return rows


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    cells: dict[str, object] = {}
    for key, inner in value.items():
        cells |= _flat(inner, f"{prefix}{key} ") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return cells


def _rows_table(rows: Sequence[tuple[tuple[str, ...], dict[str, object]]]) -> Markup:
    names = max(len(name) for name, _ in rows)
    columns = list(dict.fromkeys(column for _, cells in rows for column in cells))
    body = [
        (*map(spoken, name), *[""] * (names - len(name)), *(_value(cells.get(column)) for column in columns))
        for name, cells in rows
    ]
    return table([""] * names + [_title(column) for column in columns], body)


def _title(key: str) -> str:
    words = spoken(key)
    return words[:1].upper() + words[1:]


def _value(value: object) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}" if isinstance(value, float) else str(value)
