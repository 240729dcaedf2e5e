"""`python -m bundle benchmark`: measures, keeps the raw results and writes the pages."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from bundle.benchmark.cost import cohort_size, limits, speed
from bundle.benchmark.cost.against import measured_at, stored_reference
from bundle.benchmark.measure import ablation, default, networks, orientation, painted, paper
from bundle.benchmark.measure.machine import made
from bundle.benchmark.measure.runs import Bench, open_bench
from bundle.benchmark.release.shipping import ship_embedding, ship_prnets, ship_segmentation
from bundle.benchmark.results import (
    FOLDER,
    MADE,
    ONE_SHOT,
    PAPER_FULL,
    PAPERS_RULES,
    Line,
    Results,
    read_cohorts,
    read_results,
    results_file,
    write_results,
)
from bundle.benchmark.rivals import measure as rivals
from bundle.benchmark.tables.pages import NO_RIVALS, pages
from bundle.benchmark.tables.speed import speed_ratios
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.folder_lock import only_command_in
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.modes import weights_folder
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, read_json

PAGES = "pages"
RIVALS = "rivals.json"
CAMPAIGN = "campaign.jsonl"
COHORT_SIZE = "cohort-size"
COHORT_SIZES = "cohort_size.jsonl"
COMPARED_TRIALS = 2
# What measures with the shipped networks.
SHIPPED = {"limits": limits.measure, "orientation": orientation.measure, "speed": speed.measure}
# What measures on a bench and takes nothing else.
BENCHES: dict[str, Callable[[Bench], Iterable[dict[str, Any]]]] = {
    "networks": networks.measure,
    "ablation": ablation.measure,
    "rivals": rivals.measure,
    "painted": painted.measure,
}


def run(options: argparse.Namespace) -> None:
    """Measure (again: continue), keep every line as soon as it is there, write the pages.

    Raises:
        BundleError: no dataset.
    """
    if options.name == PAGES:
        write_pages(options.docs)
    elif options.name == COHORT_SIZE:
        _measure_cohort_size(options)
        return
    elif options.dataset is None:
        raise BundleError("the benchmark needs a dataset", stage="benchmark", expected="--dataset FOLDER")
    elif options.weights is not None and (options.name != "paper" or options.ship):
        raise BundleError("--weights is for `paper` alone, and not to be shipped again", stage="benchmark")
    elif options.papers_rules and (options.name != "paper" or options.full or options.ship):
        raise BundleError("--papers-rules is for the small configuration of `paper` alone", stage="benchmark")
    elif options.ship and not (BUNDLE_ROOT / "pyproject.toml").is_file():
        raise BundleError("an installed package keeps its weights", stage="benchmark", expected="--ship in a checkout")
    else:
        _measure(options)
    print(f"pages: {options.docs / 'results.md'}, {options.docs / FOLDER}")


def keep(lines: Iterable[Line], docs: Path, cohort: str, kind: str) -> Results:
    """Each line goes into the raw results, and with it onto the pages, whatever comes after.

    What was measured of the same thing before makes room; everything else in the file stays. A line that says what it
    said before keeps its origin: whoever runs a benchmark again measures nothing that is up to date.
    """
    return _keep_in(results_file(docs, cohort, kind), lines, docs)


def _keep_in(file: Path, lines: Iterable[Line], docs: Path) -> Results:
    results = read_results(file)
    for line in lines:
        before = results.get(line["what"], line["name"])
        if before is None or {**before, MADE: None} != json.loads(json.dumps({**line, MADE: None})):
            results = results.including({MADE: made(), **line})
        write_results(file, results)
        write_pages(docs)
    return results


def keep_campaign(docs: Path, line: Line) -> None:
    """Keep what a part of the fault campaign found, and write the pages."""
    _keep_in(docs / FOLDER / CAMPAIGN, [line], docs)


def write_pages(docs: Path) -> list[Path]:
    """Every page that the raw results in `docs` give; returns their paths."""
    rivals = docs / FOLDER / RIVALS
    published = read_json(rivals) if rivals.exists() else NO_RIVALS
    beside = (read_results(docs / FOLDER / name) for name in (CAMPAIGN, COHORT_SIZES))
    texts = pages(read_cohorts(docs), published, *beside)
    for name, text in texts.items():
        with atomic_path(docs / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [docs / name for name in texts]


def _measure(options: argparse.Namespace) -> None:
    name = options.name
    if name in SHIPPED:
        dataset = read_dataset(options.dataset)
        if name == "speed" and options.against is not None:
            _compare_speed(dataset, options)
            return
        keep(SHIPPED[name](dataset), options.docs, dataset.folder.name, name)
        return
    bench = _bench(options)
    kind = PAPER_FULL if name == "paper" and options.full else PAPERS_RULES if options.papers_rules else name
    with only_command_in(bench.output):
        results = keep(_lines(options, bench), options.docs, bench.dataset.folder.name, kind)
        if options.ship:
            for shipped in _ship(name, bench, results):
                print(f"shipped: {shipped or 'no segmentation network'}")


def _compare_speed(dataset: Dataset, options: argparse.Namespace) -> None:
    """Of another version and this one, right after each other; cases of clinical size take too long for that."""
    name, docs = dataset.folder.name, options.docs
    reference = options.against or stored_reference(read_results(results_file(docs, name, "speed")))
    before = measured_at(reference, dataset.folder, COMPARED_TRIALS, BUNDLE_ROOT)
    keep(chain([speed.head(dataset)], before), docs, name, "speed")
    results = keep(speed.measure(dataset, trials=speed.TRIALS[:COMPARED_TRIALS]), docs, name, "speed")
    print("\n".join(speed_ratios(results)))


def _measure_cohort_size(options: argparse.Namespace) -> None:
    """Volumes are made by seed and lie in the output folder, as the runs do; each line is kept once it is there."""
    output, file = options.output or Path("runs") / "cohort_size", options.docs / FOLDER / COHORT_SIZES
    with only_command_in(output):
        _keep_in(file, cohort_size.measure(output, sorted(options.cases or cohort_size.COUNTS)), options.docs)
    print(f"raw results: {file}")


def _bench(options: argparse.Namespace) -> Bench:
    """`networks` works on what the small configuration made, `paper` in a work directory of its own."""
    small = options.name == "networks" or not options.full
    output = options.output
    if options.name == "paper" and output is None:
        output = Path("runs") / f"paper_{read_dataset(options.dataset).folder.name}"
    return open_bench(options.dataset, output, small, options.device)


def _lines(options: argparse.Namespace, bench: Bench) -> Iterable[dict[str, Any]]:
    if options.name == "paper":
        given = options.weights
        weights = None if given is None else weights_folder(given, "paper", bench.small)
        return (paper.measure_papers_rules if options.papers_rules else paper.measure)(bench, weights=weights)
    if options.name in BENCHES:
        return BENCHES[options.name](bench)
    others = options.out_of_distribution
    return default.measure(bench, None if others is None else read_dataset(others))


def _ship(name: str, bench: Bench, results: Results) -> list[Path | None]:
    """Copies in `models/`; None for a segmentation network that `configs/inference.json` does not describe."""
    if name == "paper":
        return [ship_prnets(bench.output, results)]
    if name == "default":
        return [ship_embedding(bench.output, results), ship_segmentation(bench.output / ONE_SHOT, ONE_SHOT, results)]
    if name == "networks":
        return [ship_segmentation(bench.output / ONE_SHOT, networks.VARIANT, results)]
    return []
