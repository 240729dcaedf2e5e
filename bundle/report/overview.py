"""The cohort at a glance: the table of all cases and organs, and organs over all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bundle.report.case_results import CaseResult
from bundle.report.markup import MISSING, Markup, escape, number, paragraph, section, spoken, swatch, table
from bundle.report.pictures import colours_of
from bundle.report.run import Run
from bundle.report.trouble import MINIMUM_COHORT, RULE

TABLE_WORDS = (
    "Predicted Dice: how well the self-check thinks the label fits the true organ, from 0 for not at all to 1 for "
    "exactly; the true one is mostly between From and To. The true organ is not known to it: a low value deserves a "
    "look, a high one is no proof. Flagged: somebody should look. Atlases: the labelled volumes that a label came from."
)
TICK_WORDS = Markup(
    "Open a case and press “Right as it is” or “To correct”. Then save the list, and run the same command again with "
    "<code>--accepted accepted.txt</code>: the cases that are right then help to label the others. What you pressed "
    "stays in this browser; it is dropped when the case's label map changes."
)
RANK_WORDS = (
    "No true label enters. Every sign of trouble adds points for each organ; the case with most points comes first. "
    f"Usual is the median over the cases, from {MINIMUM_COHORT} cases on. A case without a result for a sign is not "
    "judged by it, so unfinished cases come late. A case without any sign can still be wrong."
)
NO_SCRIPT = (
    "This browser runs no scripts, so the table and the pictures stay away. results.csv in the output folder has the "
    "same numbers."
)
OPEN_WORDS = "Press a case's name to look at it, a heading to sort."
# Column -> heading.
COLUMNS = {
    "case": "Case",
    "organ": "Organ",
    "volume": "Volume, ml",
    "dice": "Predicted Dice",
    "low": "From",
    "high": "To",
    "flagged": "Flagged",
    "why": "Why",
}


def results_section(run: Run, ticks: bool) -> Markup:
    """The table's frame, which the page's script fills, and how cases are ordered."""
    options = "".join(f'<option value="{n}">{escape(spoken(name))}</option>' for n, name in enumerate(run.classes))
    head = "".join(
        f'<th data-column="{name}" aria-sort="none"><button type="button">{title}</button></th>'
        for name, title in COLUMNS.items()
    )
    saving = (
        '<p class="ticks"><span id="ticked"></span> <button type="button" id="save-accepted">Save list of accepted '
        "cases</button></p>\n" + paragraph(TICK_WORDS, "print-off")
        if ticks
        else ""
    )
    rule = Markup(
        '<details class="many"><summary>How cases are ordered</summary>'
        + paragraph(RANK_WORDS)
        + table(("Sign, for each organ", "Points"), [(sign, Markup(escape(points))) for sign, points in RULE])
        + "</details>\n"
    )
    frame = Markup(
        '<form class="filters" role="search"><label>Find <input type="search" id="filter-text"/></label>'
        f'<label>Organ <select id="filter-class"><option value="">all</option>{options}</select></label>'
        '<label><input type="checkbox" id="filter-flagged"/>only flagged</label>'
        '<button type="button" id="worst-first">Worst first</button>'
        '<button type="button" id="save-csv">Save as CSV</button></form>\n'
        f'{saving}<p id="shown" aria-live="polite"></p>\n'
        f'<table id="results-table"><thead><tr>{head}</tr></thead><tbody></tbody></table>\n'
        '<p><button type="button" id="show-more" hidden="hidden">Show more</button></p>\n'
        f"<noscript>{paragraph(NO_SCRIPT, 'warning')}</noscript>\n"
    )
    hint = paragraph(OPEN_WORDS, "many print-off")
    return section("results", "Results", hint, paragraph(TABLE_WORDS), frame, rule)


def classes_overview(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """One line per class over the whole cohort."""
    colours = colours_of(run.classes)
    rows = []
    for name in run.classes:
        others = [result.classes[name] for case, result in results.items() if case != run.support]
        propagated = [result for result in others if result.points is not None]
        located = sum(not result.not_located for result in propagated)
        row = [
            swatch(colours[name], spoken(name)),
            f"{located} of {len(propagated)}" if propagated else MISSING,
            _percent(_median([result.kept_share for result in propagated])),
            number(_median([result.agreement for result in others])),
            _range([result.final_volume_ml for result in others if result.final_volume_ml]),
        ]
        if run.labels:
            row += [
                _spread([result.dice.get((which, "truth")) for result in others]) for which in ("pseudo", "prediction")
            ]
        rows.append(row)
    columns = ["Organ", "Cases with stroke points found again", "Share of points found again"]
    columns += ["Dice of transferred and final label", "Volume, ml (range)"]
    columns += ["Dice, transferred and true", "Dice, final and true"] if run.labels else []
    filled = [n for n in range(len(columns)) if any(row[n] != MISSING for row in rows)]
    note = paragraph(
        "Medians over the cases, the support left out"
        + ("; Dice with true labels as mean ± standard deviation (cases)." if run.labels else ".")
    )
    shown = table([columns[n] for n in filled], [[row[n] for n in filled] for row in rows])
    return section("classes", "Organs over all cases", note, shown)


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
