"""Markdown sections of the benchmark page, from the measured JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.common.files import atomic_path, write_json

# Dice in percent, mean over the classes' columns, from tables 1 to 3 of arXiv 2111.10773 (other data than ours).
PAPER = {
    "abdomen_ct": {
        "data": "TCIA Pancreas-CT (spleen, left kidney, liver)",
        "0.0": 68.0,
        "0.5": 78.1,
        "0.9": 45.2,
        "trained_without_plc": 81.9,
        "trained_with_plc": 88.7,
    },
    "headneck_ct": {
        "data": "StructSeg 2019 head and neck (brain stem, left and right parotid)",
        "0.0": 59.7,
        "0.5": 68.2,
        "0.9": 32.0,
        "trained_without_plc": 74.8,
        "trained_with_plc": 75.3,
    },
}


def publish(page: Path, kind: str, result: Mapping[str, Any], section: str) -> None:
    """Keep a result as `benchmarks/KIND_DATASET.json` beside the page, and its tables in the page's part for it."""
    write_json(page.parent / "benchmarks" / f"{kind}_{result['dataset']}.json", result)
    replace_section(page, f"{kind} {result['dataset']}", section)


def processor(result: Mapping[str, Any]) -> str:
    """What the result was computed on, in words."""
    return result["machine"]["gpu"] or f"{result['machine']['threads']} CPU threads"


def replace_section(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's markers for NAME; a page without them gets both at its end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    content = page.read_text(encoding="utf-8") if page.exists() else ""
    block = f"{begin}\n{text.strip()}\n{end}"
    if begin in content and end in content:
        content = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, content, flags=re.DOTALL)
    else:
        content = f"{content.rstrip()}\n\n{block}\n" if content else f"{block}\n"
    with atomic_path(page) as temporary:
        temporary.write_text(content, encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def paper_section(result: Mapping[str, Any]) -> str:
    """Everything `benchmark paper` measured on one cohort."""
    name = result["dataset"]
    return "\n\n".join(
        [
            f"### {name}",
            f"`python -m bundle benchmark paper --dataset DIR/{name}`; {result['configuration']} configuration; "
            f"{processor(result)}; support `{result['support']}`, scribbles `a`; "
            f"{len(result['unlabelled_cases'])} unlabelled volumes, scores on the "
            f"{len(result['test_cases'])} volumes of the `test` list, full original grid. "
            f"Raw numbers: `docs/benchmarks/paper_{name}.json`.",
            "**Dice, mean ± standard deviation over test volumes.** The paper's column is on other data "
            f"({PAPER[name]['data']}), with networks trained on a GPU at about 1 mm: orientation only."
            if name in PAPER
            else "**Dice, mean ± standard deviation over test volumes.**",
            _dice_table(result),
            "**Propagated points.** Share of support points kept, and share of the kept points that lie in the right "
            "organ; mean over test volumes.",
            _point_table(result["points"], "dual"),
            _point_table(result["points"], "multi"),
            _point_table(result["points"], "dual", tissue_check=True),
            "**Time and peak memory per stage.** Wall-clock seconds, peak resident memory of the whole process.",
            _stage_table(result),
        ]
    )


def _dice_table(result: Mapping[str, Any]) -> str:
    paper = PAPER.get(result["dataset"], {})
    rows = [(f"pseudo labels, tau {tau}", scores, paper.get(tau)) for tau, scores in result["pseudo_labels"].items()]
    rows += [
        ("trained, no PLC", result["trained_without_plc"], paper.get("trained_without_plc")),
        ("trained with PLC", result["trained_with_plc"], paper.get("trained_with_plc")),
    ]
    classes = list(result["classes"])
    header = ["", *classes, "mean", "HD95 mm", "surface Dice 2 mm", "paper, mean"]
    lines = []
    for label, scores, published in rows:
        summary = [scores["classes"][name] for name in classes]
        cells = [mean_sd(row["dice_mean"], row["dice_sd"]) for row in summary]
        mean = "–" if scores["mean_dice"] is None else f"{scores['mean_dice']:.3f}"
        others = [_mean(row["hd95_mean_mm"] for row in summary), _mean(row["surface_dice_2mm_mean"] for row in summary)]
        lines.append([label, *cells, mean, *others, "–" if published is None else f"{published / 100:.3f}"])
    return table(header, lines)


def _point_table(rows: Sequence[Mapping[str, Any]], rule: str, tissue_check: bool = False) -> str:
    chosen = [row for row in rows if row["rule"] == rule and (row["tissue_tolerance"] is not None) == tissue_check]
    classes = list(dict.fromkeys(row["class"] for row in chosen))
    taus = list(dict.fromkeys(row["tau"] for row in chosen))
    cell = {(row["tau"], row["class"]): row for row in chosen}
    checked = " and tissue check" if tissue_check else ""
    header = [f"{rule}{checked}, tau", *(f"{name}: kept / right" for name in classes)]
    return table(
        header,
        [
            [
                f"{tau}",
                *(
                    f"{cell[tau, name]['kept_mean']:.2f} / {number(cell[tau, name]['precision_mean'])}"
                    for name in classes
                ),
            ]
            for tau in taus
        ],
    )


def _stage_table(result: Mapping[str, Any]) -> str:
    rows = []
    for where, key in (("", "stages"), (" (test volumes)", "stages_on_test")):
        for name, state in result[key].items():
            rows.append([name + where, f"{state['seconds']:.0f}", f"{state.get('peak_memory_mb', 0):.0f}"])
    return table(["stage", "seconds", "peak MB"], rows)


def mean_sd(mean: float | None, sd: float | None) -> str:
    """Mean ± standard deviation, a dash for nothing."""
    return "–" if mean is None else f"{mean:.3f} ± {sd or 0:.3f}"


def _mean(values: Iterable[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{sum(present) / len(present):.2f}" if present else "–"


def run_name(run: Mapping[str, Any]) -> str:
    """Support, strokes and region of one run of mode `default`."""
    return f"{run['support']} {run['variant']}, region {run['support_mask']}"


def number(value: float | None) -> str:
    """Two decimals, a dash for nothing."""
    return "–" if value is None else f"{value:.2f}"
