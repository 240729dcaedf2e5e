"""The report of a run: its page, the files beside it, and a page of one case alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.report import process
from bundle.report.browser.data_files import FOLDER, data_element, forget_others, key_of
from bundle.report.browser.page_frame import VIEWER_FILE, page_frame, title_element
from bundle.report.browser.table_data import CaseRows, rows_of, table_data
from bundle.report.case_files import keep_panel, keep_strokes, keep_volume
from bundle.report.case_results import CaseResult, summarise_case
from bundle.report.header import header, header_of_case
from bundle.report.markup import Markup, paragraph
from bundle.report.overview import classes_overview, results_section
from bundle.report.run import Run, load_run
from bundle.report.support import SupportPart, support, support_section
from bundle.report.trouble import Ranked, rank_cases
from bundle.report.trust import trust
from scripts.common.case_stage import CASES, advance, counted
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, remove_file
from scripts.quality.check_case import without_names

logger = logging.getLogger(__name__)

PICTURE_BUDGET_BYTES = 1_200_000  # of a case
BYTES_PER_PIXEL = 0.30  # of a grey CT slice as JPEG in base64, measured
PIXEL_RANGE = (128, 360)
CASE_PAGE = "case_"  # begins the names of pages of one case alone
MOST_HEAD = 1 << 14  # signs of a page before its style

NAVIGATION = {
    "run": "Run",
    "results": "Results",
    "support": "Scribbled volume",
    "classes": "Organs",
    "trust": "Trust",
    "training": "Training",
    "flips": "Label correction",
    "metrics": "Scores",
    "times": "Time",
}
ALONE = ("run", "results", "support", "times")  # what there is to say of the support mask alone


@dataclass(frozen=True)
class Findings:
    """What the page is made of.

    Attributes:
        run: everything that is not about one case.
        results: case -> what was measured.
        rows: case -> its rows in the table of results.
        ranking: cases, those to look at first first.
        support: what is said of the support.
    """

    run: Run
    results: Mapping[str, CaseResult]
    rows: Mapping[str, CaseRows]
    ranking: Sequence[Ranked]
    support: SupportPart

    def table(self) -> dict[str, Any]:
        """All cases and organs, for the page's script."""
        return table_data(self.run, self.results, self.ranking, self.rows)


def write_report(output_dir: str | Path, labels: str | Path | None = None, alone: str | None = None) -> Path:
    """Write `OUTPUT/report/index.html` from whatever a run has left so far, and beside it what it loads on demand.

    Reads one case at a time. What is missing is said in the page; only a missing work directory or labels folder is an
    error. Pictures and volumes of a case that has not changed are left as they are; those of a case that is in the
    cohort no more are removed.

    Args:
        output_dir: the work directory.
        labels: folder of true label maps with the cases' names; adds contours and Dice.
        alone: a case that also gets a page of its own, which needs no other file; later reports write it again.

    Returns:
        The page's path, that of the case alone if there is one.

    Raises:
        BundleError: a folder is missing, there is no such case, or a file cannot be written.
    """
    run = load_run(Path(output_dir), None if labels is None else Path(labels))
    if alone is not None and alone not in run.case_ids:
        raise BundleError(
            "there is no such case", stage="report", expected=f"one of: {', '.join(run.case_ids)}", found=alone
        )
    results = {case: summarise_case(run, case) for case in counted(run.case_ids, "report", len(run.case_ids))}
    pixels = tile_pixels(len(run.classes))
    findings = Findings(run, results, rows_of(run), rank_cases(results, run.support), support(run, results, pixels))
    _write_beside(findings, pixels)
    path = run.folder.report / "index.html"
    _write(path, index_page(findings))
    for case in _with_page(run, alone):
        _write(_page_of(run, case), case_page(findings, case))
    if run.cohort is not None:
        _forget_others(run)
    return path if alone is None else _page_of(run, alone)


def _page_of(run: Run, case: str) -> Path:
    return run.folder.report / f"{CASE_PAGE}{case}.html"


def _with_page(run: Run, alone: str | None) -> list[str]:
    """Cases with a page of their own: one that was asked for earlier would be of former results."""
    return [case for case in run.case_ids if case == alone or _page_of(run, case).is_file()]


def _forget_others(run: Run) -> None:
    """Remove what earlier reports wrote of cases that are in the cohort no more."""
    forget_others(run.folder.report / FOLDER, run.case_ids)
    for file in sorted(run.folder.report.glob(f"{CASE_PAGE}*.html")):
        case = file.stem.removeprefix(CASE_PAGE)
        with file.open(encoding="utf-8", errors="replace") as page:
            is_ours = title_element(_title(case)) in page.read(MOST_HEAD)
        if case not in run.case_ids and is_ours:
            remove_file(file)
            logger.info("%s is in the cohort no more, and its page was removed", case)


def _title(case: str) -> str:
    return f"Case {case}"


def tile_pixels(classes: int) -> int:
    """Edge of the pictures, so that those of a case stay within the budget."""
    tiles = 3 * (1 + classes)
    return int(np.clip((PICTURE_BUDGET_BYTES / tiles / BYTES_PER_PIXEL) ** 0.5, *PIXEL_RANGE))


def index_page(findings: Findings) -> Iterator[str]:
    """The page of the run; what belongs to one case is in files beside it."""
    run, results = findings.run, findings.results
    table = findings.table()
    if run.has_support_mask_alone:  # what the others lack is no failure
        told = {run.support, *(case for case, result in results.items() if result.is_remarked)}
        table["cases"] = [entry for entry in table["cases"] if entry["key"] is None or entry["id"] in told]
    yield from page_frame(
        title=f"Report: {run.folder.path.resolve().name}",
        links={name: words for name, words in NAVIGATION.items() if name in ALONE or not run.has_support_mask_alone},
        data=table,
        parts=_index_parts(findings, bool(table["ticks"]), results),
    )


def case_page(findings: Findings, case: str) -> Iterator[str]:
    """A page of one case, self-contained: its rows, its panel, its volume and the viewer; no other case is named."""
    run, key = findings.run, key_of(case)
    table = findings.table()
    cases = [entry for entry in table["cases"] if entry["id"] == case]
    used = {number for entry in cases for line in entry["lines"] for number in line[-1]}
    used |= {number for _, numbers in table["common"] for number in numbers}
    texts = [without_names(text) if number in used else "" for number, text in enumerate(table["texts"])]
    table |= {"cases": cases, "texts": texts, "ticks": False, "open": key}
    files = {kind: run.folder.report / FOLDER / f"{key}_{kind}.js" for kind in ("panel", "volume")}
    parts = [header_of_case(run, case), results_section(run, ticks=False)]
    parts += [data_element(kind, key, file) for kind, file in files.items() if file.exists()]
    yield from page_frame(title=_title(case), links={}, data=table, parts=parts, with_viewer=True)


def _index_parts(findings: Findings, ticks: bool, results: Mapping[str, CaseResult]) -> Iterator[str]:
    run, key = findings.run, key_of(findings.run.support or "")
    yield Markup(f'<div id="run">{header(run, results)}</div>')
    if run.has_support_mask_alone:
        yield support_section(findings.support, key, unfolded=True)
        yield results_section(run, ticks)
        yield process.times(run)
        return
    yield results_section(run, ticks)
    if not results:
        yield paragraph("There is no case: neither cohort.json nor any result was found.")
    yield support_section(findings.support, key)
    yield classes_overview(run, results)
    yield trust(run, results)
    yield process.trainings(run)
    yield process.label_correction(run)
    yield process.metrics(run)
    yield process.times(run)


def _write_beside(findings: Findings, pixels: int) -> None:
    """A case's panel and volume, and the viewer."""
    run = findings.run
    folder, scores = run.folder.report / FOLDER, process.case_scores(run)
    count = len(findings.results)
    for place, (case, result) in enumerate(findings.results.items(), start=1):
        keep_panel(run, result, scores.get(case, {}), pixels, folder)
        keep_volume(run, result, folder)
        advance(CASES, place, count)
        logger.info("report: %s (%d of %d)", case, place, count)
    if findings.support.pictures and run.support is not None:
        keep_strokes(run.support, findings.support.pictures, folder)
    if findings.results:
        viewer = run.folder.report / VIEWER_FILE.name
        if not viewer.exists() or viewer.stat().st_size != VIEWER_FILE.stat().st_size:
            with atomic_path(viewer) as temporary:
                temporary.write_bytes(VIEWER_FILE.read_bytes())


def _write(path: Path, parts: Iterable[str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in parts:
            file.write(part)
