"""The top of the page: what this run was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bundle.report.case_results import CaseResult
from bundle.report.markup import MAP_WORDS, Markup, definition_list, escape, paragraph, spoken, swatch
from bundle.report.pictures import colours_of
from bundle.report.run import Run
from scripts.common.names import how_many
from scripts.data.gate.admission import verdict_lines
from scripts.data.gate.modality import CT

ALONE_WORDS = (
    "Only the support mask was made so far. Look at it below. Where it is right, the command oneshot, with the same "
    "options, comes next: it sends its labels to the other cases, trains the network, and predicts the Dice of each "
    "label map."
)
SHOWN = ("pseudo", "prediction")  # maps whose number is told


def header(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """What this run was."""
    return Markup(
        "<header><h1>One-shot segmentation: report of a run</h1>\n"
        + _warnings(run)
        + paragraph(_in_short(run, results))
        + (paragraph(ALONE_WORDS) if run.has_support_mask_alone else "")
        + _assumptions(run)
        + f"<details><summary>About this run</summary>\n{definition_list(_facts(run))}{_unused(run)}</details>\n"
        + "</header>\n"
    )


def header_of_case(run: Run, case: str) -> Markup:
    """Of a page that may be sent to others: it names no case but this one, and no file that was not used."""
    return Markup(f"<header><h1>One-shot segmentation: {escape(case)}</h1>\n{_warnings(run)}</header>\n")


def _warnings(run: Run) -> Markup:
    text = "Synthetic phantom: these volumes are computer-made. Nothing here says how the method does on patients."
    warning = paragraph(text, "phantom") if run.is_phantom else ""
    return Markup(paragraph("Research use only, not for diagnosis.", "warning") + warning)


def _in_short(run: Run, results: Mapping[str, CaseResult]) -> str:
    shown = () if run.has_support_mask_alone else SHOWN
    counts = {f"with {MAP_WORDS[which]}": sum(which in r.maps for r in results.values()) for which in shown}
    counts |= {"left out": len(run.cohort.rejected)} if run.cohort is not None and run.cohort.rejected else {}
    cases = ", ".join(f"{count} {what}" for what, count in counts.items())
    scribbled = f"; scribbled: {run.support}" if run.support else ""
    return f"{how_many(len(run.case_ids), 'case')}{cases and f': {cases}'}{scribbled}."


def _facts(run: Run) -> dict[str, object]:
    colours = colours_of(run.classes)
    classes = ", ".join(swatch(colours[name], f"{spoken(name)} = {value}") for name, value in run.classes.items())
    cohort = run.cohort
    spacing = None if cohort is None else " × ".join(f"{step:g}" for step in cohort.spacing_mm)
    strokes = "" if cohort is None or cohort.background is None else f"; background strokes = {cohort.background}"
    points = _points_rule(run)
    return {
        "Mode": _mode(run),
        "Modality": _modality(run),
        "Classes": Markup(classes + escape(strokes)) if classes else "not recorded",
        "Support (the scribbled volume)": run.support or "none",
        "True labels": _labels_fact(run),
        "Working resolution": "not recorded" if spacing is None else f"{spacing} mm",
        **({"A stroke point counts as found if": points} if points else {}),
        "Dates": _dates(run),
    }


def _modality(run: Run) -> str:
    """What the volumes are, and what was done to their values."""
    if run.cohort is None:
        return "not recorded"
    if run.cohort.modality == CT:
        return "CT"
    bias = ", bias field divided out" if run.cohort.bias_correction else ""
    return f"MR: intensities scaled by percentiles inside the body{bias}"


def _labels_fact(run: Run) -> str:
    if run.labels:
        return f"given for {len(run.labels)} cases, for scoring only"
    return "not given; everything below is judged without them"


def _mode(run: Run) -> str:
    """The mode that `run.json` records."""
    choices = run.choices
    parts = [(choices.mode or "not recorded") + (", small configuration" if choices.small else "")]
    if run.has_bounded_labels:
        parts.append("bounded label maps")
    if choices.all_pairs and not choices.weights:
        parts.append("PRNet of all pairs")
    if choices.weights:
        parts.append(f"networks given: {choices.weights}")
    return "; ".join(parts)


def _points_rule(run: Run) -> str:
    record = next((record for record in map(run.propagation, run.case_ids) if record is not None), None)
    return "" if record is None else ", ".join(_conditions(record.rule))


def _conditions(rule: Mapping[str, Any]) -> Iterator[str]:
    """What a kept point had to fulfil, in words; each mode records its own limits."""
    if rule.get("tau") is not None:
        yield f"its score is above {rule['tau']:g}"
    if rule.get("point_cycle_mm") is not None:
        yield f"it comes back within {rule['point_cycle_mm']:g} mm"
    if rule.get("least_point_probability") is not None:
        yield f"its class is more probable than {rule['least_point_probability']:g}"
    if rule.get("point_reach_mm") is not None:
        yield f"it is moved by at most {rule['point_reach_mm']:g} mm"
    if rule.get("tissue_tolerance") is not None:
        yield f"its intensity is within {rule['tissue_tolerance']:g} of the strokes'"


def _dates(run: Run) -> str:
    parts = []
    folder = run.folder
    if folder.cohort.exists():
        parts.append(f"volumes prepared {_date(folder.cohort)}")
    results = [
        f for part in (folder.propagation, folder.pseudo_labels, folder.predictions) for f in part.path.glob("*")
    ]
    if results:
        parts.append(f"last result {_date(max(results, key=lambda path: path.stat().st_mtime))}")
    return "; ".join([*parts, f"report written {datetime.now().astimezone():%Y-%m-%d %H:%M}"])


def _date(path: Path) -> str:
    return f"{datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).astimezone():%Y-%m-%d %H:%M}"


def _assumptions(run: Run) -> Markup:
    sentences = [*(() if run.cohort is None else run.cohort.assumptions), *run.age_notes, *run.notes]
    if run.cohort is None:
        sentences.append(
            "There is no readable cohort.json, so images, support and classes are known from results only."
        )
    return _list("Assumed and noticed", sentences)


def _unused(run: Run) -> Markup:
    """File names by reason: folders can hold thousands of them."""
    unused = {} if run.cohort is None else run.cohort.unused
    lines = verdict_lines({Path(file).name: [reason] for file, reason in unused.items()})
    return _list(f"In the images folder, but not used ({len(unused)})", lines)


def _list(title: str, sentences: Sequence[str]) -> Markup:
    if not sentences:
        return Markup("")
    items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences)
    return Markup(f"<h3>{title}</h3><ul>{items}</ul>\n")
