"""The top of the page: what this run was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bundle.report.collect import CaseResult, Run, is_phantom, propagation_of
from bundle.report.markup import MISSING, Markup, definition_list, escape, paragraph, swatch, table
from bundle.report.pictures import colours_of
from bundle.report.trouble import spoken


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
    """The mode that `run.json` records and the denoising rule that the points were kept by."""
    settings = run.settings
    parts = [str(settings.get("mode", "not recorded")) + (", small configuration" if settings.get("small") else "")]
    if settings.get("weights"):
        parts.append(f"networks given: {settings['weights']}")
    propagation = next(filter(None, (propagation_of(run, case) for case in run.case_ids)), {})
    if "rule" in propagation:
        parts.append(f"points kept by rule {propagation['rule']} ({', '.join(_conditions(propagation))})")
    return "; ".join(parts)


def _conditions(propagation: Mapping[str, Any]) -> Iterator[str]:
    """What a kept point had to fulfil, in words; each mode records its own."""
    yield from propagation.get("levels", ())
    if propagation.get("tau") is not None:
        yield f"score above {propagation['tau']:g}"
    if propagation.get("cycle_mm") is not None:
        yield f"back within {propagation['cycle_mm']:g} mm"
    if propagation.get("least_point_probability") is not None:
        yield f"probability above {propagation['least_point_probability']:g}, moved by at most {propagation['reach_mm']:g} mm"
    if propagation.get("tissue_tolerance") is not None:
        yield f"tissue within {propagation['tissue_tolerance']:g} of the strokes' intensity"


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
