"""The whole page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bundle.report import process
from bundle.report.case_results import CaseResult, summarise_case
from bundle.report.cases import case_section
from bundle.report.header import header
from bundle.report.markup import Markup, escape, paragraph
from bundle.report.overview import classes_overview, look_first
from bundle.report.pictures import NEAR_MM, WINDOW_HU
from bundle.report.run import Run, load_run
from bundle.report.support import support
from bundle.report.trouble import Ranked, rank_cases
from bundle.report.trust import trust
from scripts.common.files import atomic_path
from scripts.data.gate.modality import CT, MR

logger = logging.getLogger(__name__)

PAGE_BUDGET_BYTES = 13_000_000
PICTURE_BUDGET_BYTES = 8_500_000
BYTES_PER_PIXEL = 0.30  # of a grey CT slice as JPEG in base64, measured
PIXEL_RANGE = (128, 360)
OPEN_CASES = 3

NAVIGATION = {
    "run": "Run",
    "look-first": "Look first",
    "support": "Support",
    "classes": "Classes",
    "trust": "Trust",
    "cases": "Cases",
    "training": "Training",
    "flips": "Label correction",
    "metrics": "Metrics",
    "times": "Time",
}
LAYERS = {
    "kept": ("kept point", '<circle class="kept" cx="12" cy="6" r="4.2" fill="#E69F00"/>'),
    "dropped": ("dropped point", '<circle class="dropped" cx="12" cy="6" r="4.2" stroke="#E69F00"/>'),
    "prediction": ("prediction", '<path class="c prediction" stroke="#E69F00" d="M1 6h22"/>'),
    "pseudo": ("pseudo label", '<path class="c pseudo" stroke="#E69F00" d="M1 6h22"/>'),
    "truth": ("true label", '<path class="c truth" stroke="#FFFFFF" d="M1 6h22"/>'),
}


def write_report(output_dir: str | Path, labels: str | Path | None = None, page_bytes: int = PAGE_BUDGET_BYTES) -> Path:
    """Write `OUTPUT/report/index.html`, one self-contained file, from whatever a run has left so far.

    Reads one case at a time. What is missing is said in the page; only a missing work directory or labels folder is an
    error.

    Args:
        output_dir: the work directory.
        labels: folder of true label maps with the cases' names; adds contours and Dice.
        page_bytes: of the cases' sections, from which on they get no more pictures.

    Returns:
        The page's path.

    Raises:
        BundleError: a folder is missing, or the page cannot be written.
    """
    run = load_run(Path(output_dir), None if labels is None else Path(labels))
    results = {case: summarise_case(run, case) for case in run.case_ids}
    path = run.folder.report / "index.html"
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in _page(run, results, rank_cases(results, run.support), page_bytes):
            file.write(part)
    logger.info("report of %d cases in %s (%.1f MB)", len(results), path, path.stat().st_size / 1e6)
    return path


def tile_pixels(cases: int, classes: int) -> int:
    """Edge of the pictures, so that those of all cases and classes stay within the budget."""
    tiles = 3 * max(1, cases) * (1 + classes)
    return int(np.clip((PICTURE_BUDGET_BYTES / tiles / BYTES_PER_PIXEL) ** 0.5, *PIXEL_RANGE))


def _page(run: Run, results: Mapping[str, CaseResult], ranking: Sequence[Ranked], page_bytes: int) -> Iterator[str]:
    anchors = {case: f"case-{n}-{re.sub(r'[^A-Za-z0-9]+', '-', case)}" for n, case in enumerate(sorted(results))}
    pixels = tile_pixels(len(run.case_ids), len(run.classes))
    yield _head(run)
    yield Markup(f'<div id="run">{header(run, results)}</div>')
    yield look_first(ranking, anchors)
    yield support(run, results, pixels)
    yield classes_overview(run, results)
    yield trust(run, results)
    yield '<section id="cases"><h2>Cases</h2>\n' + _conventions(
        anchors, ranking, CT if run.cohort is None else run.cohort.modality
    )
    yield from _cases(run, results, ranking, anchors, pixels, page_bytes)
    yield "</section>\n"
    yield process.trainings(run)
    yield process.label_correction(run)
    yield process.metrics(run)
    yield process.times(run)
    yield "</main></body></html>\n"


def _cases(
    run: Run,
    results: Mapping[str, CaseResult],
    ranking: Sequence[Ranked],
    anchors: Mapping[str, str],
    pixels: int,
    page_bytes: int,
) -> Iterator[str]:
    """Worst first; pictures while the budget lasts."""
    written = 0
    for place, rank in enumerate(ranking):
        allowed = pixels if written < page_bytes else None
        opened = rank.total > 0 and place < OPEN_CASES
        part = case_section(run, results[rank.case], rank, anchors[rank.case], allowed, opened)
        written += len(part)
        logger.info("report: %s (%d of %d)", rank.case, place + 1, len(ranking))
        yield part
    if not ranking:
        yield paragraph("There is no case: neither cohort.json nor any result was found.")


def _head(run: Run) -> str:
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in NAVIGATION.items())
    shown = {name: layer for name, layer in LAYERS.items() if name != "truth" or run.labels}
    switches = "".join(
        f'<label><input type="checkbox" id="show-{name}" checked="checked"/>'
        f'<svg viewBox="0 0 24 12" width="24" height="12">{sample}</svg>{title}</label>'
        for name, (title, sample) in shown.items()
    )
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    title = escape(f"Report: {run.folder.path.resolve().name}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{title}</title>\n<style>\n{style}</style></head>\n<body>"
        f'<nav><div class="links">{links}</div><div class="switches">{switches}</div></nav>\n<main>\n'
    )


def _window(modality: str) -> str:
    if modality == MR:
        return "Grey values of MR are as the method sees them: scaled by percentiles inside the body, black outside."
    low, high = WINDOW_HU
    return f"Window {high - low:.0f} HU wide around {(high + low) / 2:.0f} HU."


def _conventions(anchors: Mapping[str, str], ranking: Sequence[Ranked], modality: str) -> str:
    links = " ".join(f'<a href="#{anchors[case]}">{escape(case)}</a>' for case in sorted(anchors))
    return (
        paragraph(
            "Radiological convention: the patient's right is on the left of axial and coronal slices, anterior is on "
            "the left of sagittal ones. Slices follow the volume's own axes; their proportions are true to "
            f"millimetres. {_window(modality)} Solid line: prediction; "
            "dashed: pseudo label; white dotted: true label, where there is one. Filled circle: kept point, hollow: "
            f"dropped, within {NEAR_MM:g} mm of the slice; small dots: points farther away, projected. Hover for "
            "numbers; switch layers at the top. Worst case first."
        )
        + f'<p class="index">{links}</p>\n'
    )
