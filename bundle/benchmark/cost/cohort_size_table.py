"""How time, memory and files grow with the cases: the table of a page of its own."""

from __future__ import annotations

from collections.abc import Callable

from bundle.benchmark.cost.cohort_size import CACHE, EXTRAPOLATED, GROWTH, REPORT_AGAIN, STEP
from bundle.benchmark.results import Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import NOTHING, table


def cohort_size_section(results: Results) -> str:
    """Seconds of processors of each step, case by case, at each number of cases; empty if nothing was measured."""
    lines = results.of(STEP)
    if not lines:
        return ""
    shape = " x ".join(map(str, results.head["shape"]))
    counts = sorted({line["cases"] for line in lines})
    most = counts[-1]
    words = (
        f"`python -m bundle benchmark cohort-size`; {captions.origin(lines)}. Volumes of {shape} voxels, made by seed; "
        "labels are transferred with shipped weights. Seconds of processors, in brackets milliseconds a case. Growth "
        "is the exponent between the two largest numbers that were measured: 1 where time is linear, 2 where it grows "
        f"with the square. In italics: not measured, but taken to be linear. {_files(lines)}"
    )
    header = ["step", *(f"{count:,} cases" for count in counts), "growth", "peak memory MB, fewest to most cases"]
    rows = [_row(results, step, counts, most) for step in dict.fromkeys(line["step"] for line in lines)]
    return "\n\n".join([words, table(header, rows)])


def _row(results: Results, step: str, counts: list[int], most: int) -> list[str]:
    measured = {line["cases"]: line for line in results.of(STEP) if line["step"] == step}
    cells = [_seconds(measured[count]) if count in measured else NOTHING for count in counts]
    extrapolated = results.get(EXTRAPOLATED, step)
    if most not in measured and extrapolated is not None and extrapolated["cases"] == most:
        cells[-1] = f"*{extrapolated['cpu_seconds']:,}*"
    growth = results.get(GROWTH, step)
    peaks = [f"{measured[count]['peak_memory_mb']:.0f}" for count in (min(measured), max(measured))]
    return [
        step,
        *cells,
        NOTHING if growth is None else f"{growth['exponent']:.2f}",
        " to ".join(dict.fromkeys(peaks)),
    ]


def _seconds(line: Line) -> str:
    return f"{line['cpu_seconds']:,.1f} ({line['ms_per_case']:.1f})"


def _files(lines: list[Line]) -> str:
    """Bytes a case of the files that speak of all cases, and of all records of one case."""
    sentences = []
    for step in (CACHE, REPORT_AGAIN):
        of_step = sorted((line for line in lines if line["step"] == step), key=lambda line: line["cases"])
        if of_step:
            counts = " and ".join(f"{line['cases']:,}" for line in (of_step[0], of_step[-1]))
            shared, records = (_fewest_and_most(of_step, bytes_a_case) for bytes_a_case in (_shared, _records))
            sentences.append(
                f'After "{step}" of {counts} cases, files that speak of all have {shared} bytes a case, and the '
                f"records of a case {records}."
            )
    return " ".join(sentences)


def _fewest_and_most(lines: list[Line], value: Callable[[Line], float]) -> str:
    return f"{value(lines[0]):,.0f} and {value(lines[-1]):,.0f}"


def _shared(line: Line) -> float:
    return float(sum(line["shared_files_bytes"].values()) / line["cases"])


def _records(line: Line) -> float:
    return float(line["mean_record_bytes"])
