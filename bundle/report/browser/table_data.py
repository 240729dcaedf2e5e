"""The table of all cases and organs, as the page's script takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from bundle.report.browser.data_files import KEY_DIGITS, key_of
from bundle.report.case_results import CaseResult
from bundle.report.markup import spoken
from bundle.report.pictures import colours_of
from bundle.report.run import DEFAULT_MODE, Run, tolerant
from bundle.report.trouble import Ranked
from bundle.results.of_run import LabelledCases, result_table
from bundle.results.table import ACCEPTED, LEFT_OUT, SUPPORT, UNLABELLED, ResultRow, left_out_row
from scripts.common.files import sha256_of_file
from scripts.data.records import DIGITS

WHOLE_CASE = -1  # in the place of a class
# Of a case of which nothing else is told: it can be looked at all the same.
UNTOLD, ALONE = "it has no label map yet", "so far it has a support mask alone"


@dataclass(frozen=True)
class CaseRows:
    """What the table of results says of one case.

    Attributes:
        rows: a row a class; none where there is no label map.
        label_map: fingerprint of the label map that a tick is about.
    """

    rows: tuple[ResultRow, ...] = ()
    label_map: str | None = None


@dataclass
class _Texts:
    """Every text once: thousands of lines share a few."""

    numbers: dict[str, int] = field(default_factory=dict)

    def numbers_of(self, texts: Iterable[str]) -> list[int]:
        """Where they stand; the same text of one line once."""
        return [self.numbers.setdefault(text, len(self.numbers)) for text in dict.fromkeys(texts)]


def rows_of(run: Run) -> dict[str, CaseRows]:
    """Case -> its rows, read one case at a time: a damaged record costs no other case its rows."""
    return {case: _rows_of_case(run, case) for case in run.case_ids}


def _rows_of_case(run: Run, case: str) -> CaseRows:
    cohort = run.cohort
    known = cohort is not None and case in cohort.cases
    cases = LabelledCases(
        classes=run.classes,
        labels=run.results,
        sources={case: cohort.cases[case].source if cohort is not None and known else Path()},
        remarks={},
        rejected={},
        networks={},
        support=run.support,
        accepted=run.choices.accepted,
        checks_dir=run.checks_dir,
    )
    file = run.results.label(case)
    # Where a record is damaged the case's summary says so, and it has the volumes.
    rows, _ = tolerant(lambda _: result_table(cases, run.folder.path).rows, file)
    return CaseRows(rows or (), sha256_of_file(file)[:KEY_DIGITS] if file.is_file() else None)


def table_data(
    run: Run, results: Mapping[str, CaseResult], ranking: Sequence[Ranked], rows: Mapping[str, CaseRows]
) -> dict[str, Any]:
    """Classes, texts, and cases, those to look at first first; volumes that were left out come last.

    A line is [class, volume in ml, predicted Dice, its lowest, its highest, flagged, texts]; what is not known is null.
    Texts that hold for a class in all cases are apart.
    """
    texts, colours = _Texts(), colours_of(run.classes)
    alone = run.support if run.has_support_mask_alone else None
    places, common = {name: place for place, name in enumerate(run.classes)}, _common(rows)
    cases = [
        {
            "id": rank.case,
            "key": key_of(rank.case),
            "role": _role(run, rank.case),
            "map": rows[rank.case].label_map,
            "lines": list(_lines(results[rank.case], rank, rows[rank.case], places, common, texts))
            or [[WHOLE_CASE, None, None, None, None, 0, texts.numbers_of([ALONE if rank.case == alone else UNTOLD])]],
        }
        for rank in ranking
    ]
    rejected = {} if run.cohort is None else run.cohort.rejected
    cases += [
        {"id": name, "key": None, "role": LEFT_OUT, "map": None, "lines": [_whole_case(texts, why)]}
        for name, why in ((name, _why_left_out(entry)) for name, entry in sorted(rejected.items()))
    ]
    return {
        "run": _run_key(run),
        # The other mode takes no accepted label maps.
        "ticks": run.choices.mode == DEFAULT_MODE and not run.has_support_mask_alone,
        "classes": [{"name": name, "spoken": spoken(name), "colour": colours[name]} for name in run.classes],
        "common": [[places[name], texts.numbers_of(reasons)] for name, reasons in common.items() if reasons],
        "cases": cases,
        "texts": list(texts.numbers),
    }


def _common(rows: Mapping[str, CaseRows]) -> dict[str, list[str]]:
    """Class -> reasons that all checked cases have, as those about the support mask: they are told once."""
    checked: dict[str, list[Sequence[str]]] = {}
    for row in (row for of_case in rows.values() for row in of_case.rows if row.predicted_dice is not None):
        checked.setdefault(str(row.class_name), []).append(row.reasons)
    return {
        name: [text for text in reasons[0] if all(text in others for others in reasons)]
        for name, reasons in checked.items()
        if len(reasons) > 1
    }


def _lines(
    result: CaseResult,
    rank: Ranked,
    rows: CaseRows,
    places: Mapping[str, int],
    common: Mapping[str, Sequence[str]],
    texts: _Texts,
) -> Iterator[list[Any]]:
    """What is about the whole case first, then a line a class."""
    of_case = [*result.notes, *(sign.reason for sign in rank.of_class(None))]
    if of_case:
        yield _whole_case(texts, of_case)
    of_class = {row.class_name: row for row in rows.rows}
    for name, place in places.items():
        row, signs = of_class.get(name), [sign.reason for sign in rank.of_class(name)]
        volume_ml = result.classes[name].final_volume_ml if row is None else row.volume_ml
        if row is not None or volume_ml is not None or signs:
            numbers = [volume_ml, *((None,) * 3 if row is None else _dice(row))]
            reasons = [*(() if row is None else row.reasons), *signs]
            flagged = bool(reasons) if row is None or row.flagged is None else row.flagged
            own = [reason for reason in reasons if reason not in common.get(name, ())]
            yield [place, *map(_rounded, numbers), int(flagged), texts.numbers_of(own)]


def _dice(row: ResultRow) -> tuple[float | None, ...]:
    """Predicted, lowest, highest."""
    return row.predicted_dice, *(row.interval or (None, None))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS)


def _whole_case(texts: _Texts, reasons: Iterable[str]) -> list[Any]:
    return [WHOLE_CASE, None, None, None, None, 1, texts.numbers_of(reasons)]


def _why_left_out(entry: Mapping[str, str]) -> list[str]:
    return [*left_out_row("", entry).remarks]


def _role(run: Run, case: str) -> str:
    return SUPPORT if case == run.support else ACCEPTED if case in run.choices.accepted else UNLABELLED


def _run_key(run: Run) -> str:
    """Ticks are kept for this run alone: its folder, its support and its classes."""
    told = "\n".join([str(run.folder.path.absolute()), str(run.support), *run.classes])
    return sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]
