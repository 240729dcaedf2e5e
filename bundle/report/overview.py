"""The cohort at a glance: cases to look at first, and classes over all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bundle.report.case_results import CaseResult
from bundle.report.markup import MISSING, Markup, escape, number, paragraph, section, spoken, swatch, table
from bundle.report.pictures import colours_of
from bundle.report.run import Run
from bundle.report.trouble import MINIMUM_COHORT, RULE, Ranked


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
            number(_median([result.score for result in propagated])),
            number(_median([result.agreement for result in others])),
            _range([result.final_volume_ml for result in others if result.final_volume_ml]),
        ]
        if run.labels:
            row += [
                _spread([result.dice.get((which, "truth")) for result in others]) for which in ("pseudo", "prediction")
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
