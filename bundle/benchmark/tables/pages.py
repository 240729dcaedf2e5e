"""All generated pages of `docs/`: results, a page a cohort, the ablation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle.benchmark.campaign import campaign_section
from bundle.benchmark.cost.cohort_size_table import cohort_size_section
from bundle.benchmark.painted_table import painted_section
from bundle.benchmark.point_chart import point_chart
from bundle.benchmark.results import FOLDER, PAPER_FULL, PAPERS_RULES, Cohort, Results
from bundle.benchmark.rivals.table import measured_rivals
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.ablation import ablation_section
from bundle.benchmark.tables.default import default_section, networks_section
from bundle.benchmark.tables.known_limits import known_limits
from bundle.benchmark.tables.limits import limits_section
from bundle.benchmark.tables.orientation import orientation_section
from bundle.benchmark.tables.paper import paper_section, points_against_tau
from bundle.benchmark.tables.reached import all_organs, in_short, reached, speed, trust
from bundle.benchmark.tables.rivals import rivals_section
from bundle.benchmark.tables.speed import speed_section

RESULTS, ABLATION, COHORT_SIZE = "results.md", f"{FOLDER}/ablation.md", f"{FOLDER}/cohort_size.md"
# Configuration of mode `paper` -> kind of its results.
IN_MODE_PAPER = {"small configuration": "paper", "paper's rules": PAPERS_RULES, "full configuration": PAPER_FULL}
NO_RIVALS: Mapping[str, Any] = {"paper": {}, "systems": []}


def pages(
    cohorts: Mapping[str, Cohort],
    rivals: Mapping[str, Any] = NO_RIVALS,
    campaign: Results | None = None,
    cohort_size: Results | None = None,
) -> dict[str, str]:
    """Path below `docs/` -> text of each page.

    Args:
        cohorts: see `read_cohorts`.
        rivals: content of `docs/benchmarks/rivals.json`: "paper", cohort -> what the paper reports, and "systems".
        campaign: what the fault campaign found.
        cohort_size: what `benchmark cohort-size` measured.
    """
    written = {f"{FOLDER}/{name}.md": _cohort_page(name, cohort, rivals["paper"]) for name, cohort in cohorts.items()}
    charts = {name: _chart(cohort) for name, cohort in cohorts.items()}
    written |= {f"{FOLDER}/{_chart_name(name)}": chart for name, chart in charts.items() if chart}
    ablations = [cohort["ablation"] for cohort in cohorts.values() if "ablation" in cohort]
    if ablations:
        parts = ["# Ablation of mode `default`", captions.GENERATED, *map(ablation_section, ablations)]
        written[ABLATION] = _text(parts)
    if cohort_size is not None and cohort_size.lines:
        written[COHORT_SIZE] = _text(["# Many cases", captions.GENERATED, cohort_size_section(cohort_size)])
    if any("default" in cohort for cohort in cohorts.values()):
        written[RESULTS] = _results_page(cohorts, rivals, campaign or Results(), COHORT_SIZE in written)
    return written


def _cohort_page(name: str, cohort: Cohort, published: Mapping[str, Any]) -> str:
    parts = [f"# {name}", captions.GENERATED]
    if "default" in cohort:
        parts.append(default_section(cohort["default"]))
    if "painted" in cohort:
        parts.append(painted_section(cohort["painted"], cohort.get("default", Results())))
    if "networks" in cohort:
        parts.append(networks_section(cohort["networks"]))
    parts += [
        paper_section(cohort[kind], published.get(name, {}), kind) for kind in IN_MODE_PAPER.values() if kind in cohort
    ]
    if _chart(cohort):
        parts += points_against_tau(_in_mode_paper(cohort), _chart_name(name))
    if "limits" in cohort:
        parts.append(limits_section(cohort["limits"]))
    if "speed" in cohort:
        parts.append(speed_section(cohort["speed"]))
    if "orientation" in cohort:
        parts.append(orientation_section(cohort["orientation"]))
    return _text(parts)


def _in_mode_paper(cohort: Cohort) -> Cohort:
    """Configuration -> what was measured."""
    return {name: cohort[kind] for name, kind in IN_MODE_PAPER.items() if kind in cohort}


def _chart(cohort: Cohort) -> str:
    return point_chart(_in_mode_paper(cohort))


def _chart_name(cohort: str) -> str:
    return f"{cohort}_points.svg"


def _results_page(cohorts: Mapping[str, Cohort], rivals: Mapping[str, Any], campaign: Results, many_cases: bool) -> str:
    measured = [name for name, cohort in cohorts.items() if "default" in cohort]
    links = ", ".join(f"[{name}](benchmarks/{name}.md)" for name in cohorts)
    ablation = "; what each part gives: [ablation](benchmarks/ablation.md)" if _has(cohorts, "ablation") else ""
    growth = "; how time grows with the cases: [many cases](benchmarks/cohort_size.md)" if many_cases else ""
    parts = [
        "# Results",
        f"{captions.GENERATED} All tables: {links}{ablation}{growth}.",
        "One volume, CT or MR, is scribbled, the others have no labels. Every score is a Dice on test volumes that no "
        f"network saw, on their full original grid; {captions.SCORED}. Some constants were set by people who had seen "
        'such scores ([decisions](decisions.md) says where: "Blind: no"), so that they may flatter. The full recipe is '
        'that of `configs/train.json`, voxels of 2 mm, trained on a GPU. "Worst" is the lowest Dice of any class in '
        "any test volume. Research use only.",
        "## What it reaches",
        "Label maps come from network and atlases together. The supervised network is the same network with the same "
        "recipe, trained on the true label maps of the same unlabelled volumes.",
        "\n".join(filter(None, (in_short(name, cohorts[name]) for name in measured))),
        measured_rivals(cohorts),
        "## By organ" if any("rivals" in cohort for cohort in cohorts.values()) else "",
        *(reached(name, cohorts[name]) for name in measured),
        all_organs(cohorts),
        rivals_section(rivals["systems"], cohorts),
        trust(cohorts),
        speed(cohorts) if _has(cohorts, "limits") or _has(cohorts, "default") else "",
        campaign_section(campaign),
        known_limits(cohorts, rivals["paper"]),
    ]
    return _text(parts)


def _has(cohorts: Mapping[str, Cohort], kind: str) -> bool:
    return any(kind in cohort for cohort in cohorts.values())


def _text(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
