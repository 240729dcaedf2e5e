"""Mode `paper` on a labelled cohort: points, pseudo labels, trained networks, time and memory.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.measure.default import network_line, stages_line
from bundle.benchmark.measure.points import organs_at, redenoise, sweep
from bundle.benchmark.measure.runs import Bench, merged
from bundle.benchmark.measure.stage_calls import grow_label_maps
from bundle.benchmark.measure.trained import score_network
from bundle.benchmark.results import result_line
from bundle.datasets.dataset import Dataset
from bundle.pipeline.modes import SHIPPED
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PropagationRecord
from scripts.data.volume_io import read_labels
from scripts.points.denoising import DenoisingRule, denoising_rule
from scripts.quality.evaluation import Evaluation, evaluate_folder

# Trained network -> what it changes.
WITHOUT_THE_PAPERS_CORRECTION: Mapping[str, Mapping[str, bool]] = {
    "without_plc": {"use_plc": False},
    "guarded_plc": {"plc_guarded": True},
}
# What the small configuration has and the paper has not: stage -> config key -> the paper's value.
PAPERS_RULES: Mapping[str, Mapping[str, Any]] = {
    "point_propagation": {"feature_search": False, "body_map": False, "most_atlases": 0},
    "segmentation": {"plc_guarded": False, "plc_start_epoch": 3},
}


@dataclass(frozen=True)
class Thresholds:
    """What is tried.

    Attributes:
        points: tau of the denoising, for points.
        masks: tau of those whose label maps are grown and scored too.
        checked_mask: tau of the mask with the tissue check.
        tissue_tolerance: of that check, which the paper does not have.
        bounded_mask: tau of the bounded mask (`--bounded-labels`), and of other supports' masks.
    """

    points: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    masks: Sequence[float] = (0.0, 0.5, 0.9)
    checked_mask: float = 0.5
    tissue_tolerance: float = 0.08
    bounded_mask: float = 0.5


def measure(
    bench: Bench, thresholds: Thresholds | None = None, weights: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Run everything (again: continue); the lines of the raw results, each as soon as it is measured.

    Args:
        bench: dataset, work directory, configuration; its runs are in mode `paper` here.
        thresholds: of the denoising.
        weights: folder of both PRNets as trained before; None trains them first.
    """
    thresholds = thresholds or Thresholds()
    yield _head(bench, weights)
    pipeline = Pipeline(_settings(bench, bench.output, bench.unlabelled_images(), weights))
    pipeline.train_localisation()
    weights = weights or pipeline.work.prnet
    test = yield from _points_and_masks(bench, thresholds, weights)
    yield from _networks(bench, pipeline, weights)
    yield stages_line("unlabelled", pipeline)
    yield stages_line("test", test)
    yield from _masks_of_other_supports(bench, thresholds, weights)
    pipeline.report(bench.dataset.labels)
    test.report(bench.dataset.labels)


def measure_papers_rules(
    bench: Bench, thresholds: Thresholds | None = None, weights: Path | None = None
) -> Iterator[dict[str, Any]]:
    """The same by the paper's rules alone, in a folder of its own: points, label maps and networks.

    Args:
        bench: see `measure`; PRNets trained there serve here too.
        thresholds: those of points and masks are tried.
        weights: see `measure`.
    """
    thresholds = thresholds or Thresholds()
    yield _head(bench, weights)
    if weights is None:
        Pipeline(_settings(bench, bench.output, bench.unlabelled_images())).train_localisation()
        weights = WorkFolder(bench.output).prnet
    bench = replace(bench, output=bench.output / "papers_rules", overrides=merged(PAPERS_RULES, bench.overrides))
    yield from _by_papers_rules(bench, thresholds, weights, bench.dataset.support)
    pipeline = Pipeline(_settings(bench, bench.output, bench.unlabelled_images(), weights))
    pipeline.run()
    yield _network_line(bench, "with_plc", pipeline.work.segmentation)
    yield _network_line(bench, "without_plc", pipeline.train_segmentation("without_plc", {"use_plc": False}))
    yield stages_line("unlabelled", pipeline)
    for support in bench.dataset.alternative_supports:
        yield from _by_papers_rules(bench, thresholds, weights, support)


def _by_papers_rules(bench: Bench, thresholds: Thresholds, weights: Path, support: str) -> Iterator[dict[str, Any]]:
    """Points of the test cases, and the label maps that grow from them."""
    test = _propagated(bench, support, bench.output / f"test_{support}", weights)
    records, organs = _points(bench.dataset, test.work)
    yield from _point_lines(bench, support, records, organs, _plain_rules(thresholds))
    for tau in thresholds.masks:
        name = f"tau {tau}"
        scores = _mask_scores(bench.dataset, test, records, name, denoising_rule("dual", tau))
        yield _mask_line(bench, support, name, scores)


def _points_and_masks(bench: Bench, thresholds: Thresholds, weights: Path) -> Generator[dict[str, Any], None, Pipeline]:
    """Of the test cases, from the dataset's own support; returns what made them."""
    dataset, test = bench.dataset, _propagated(bench, bench.dataset.support, bench.output / "test", weights)
    records, organs = _points(dataset, test.work)
    yield from _point_lines(bench, dataset.support, records, organs, _rules(thresholds))
    for name, rule in _mask_rules(thresholds).items():
        yield _mask_line(bench, dataset.support, name, _mask_scores(dataset, test, records, name, rule))
    yield _mask_line(bench, dataset.support, *_masks_at_one_threshold(bench, thresholds, test, records, bounded=True))
    return test


def _masks_of_other_supports(bench: Bench, thresholds: Thresholds, weights: Path) -> Iterator[dict[str, Any]]:
    """How much the choice of the scribbled volume matters: points, and masks at one threshold."""
    rules = [denoising_rule("dual", tau) for tau in thresholds.points]
    for support in bench.dataset.alternative_supports:
        test = _propagated(bench, support, bench.output / f"test_{support}", weights)
        records, organs = _points(bench.dataset, test.work)
        yield from _point_lines(bench, support, records, organs, rules)
        for bounded in (False, True):
            yield _mask_line(bench, support, *_masks_at_one_threshold(bench, thresholds, test, records, bounded))


def _networks(bench: Bench, pipeline: Pipeline, weights: Path) -> Iterator[dict[str, Any]]:
    """Trained on the pseudo labels of the unlabelled cases: as they are, and bounded; with and without correction."""
    pipeline.run()
    yield _network_line(bench, "with_plc", pipeline.work.segmentation)
    for name, changes in WITHOUT_THE_PAPERS_CORRECTION.items():
        yield _network_line(bench, name, pipeline.train_segmentation(name, changes))
    settings = _settings(bench, bench.output / "bounded", bench.unlabelled_images(), weights, bounded_labels=True)
    bounded = Pipeline(settings)
    bounded.propagate()
    for name, changes in WITHOUT_THE_PAPERS_CORRECTION.items():
        yield _network_line(bench, f"bounded_{name}", bounded.train_segmentation(name, changes))


def _network_line(bench: Bench, name: str, model: Path) -> dict[str, Any]:
    return network_line(
        name, {"scores": score_network(bench.dataset, model, bench.output / f"test_{name}", bench.device)}
    )


def _masks_at_one_threshold(
    bench: Bench, thresholds: Thresholds, test: Pipeline, records: dict[str, PropagationRecord], bounded: bool
) -> tuple[str, Evaluation]:
    """Name and scores of label maps from the points of `test`; bounded, they may not flood what surrounds them."""
    name = f"tau {thresholds.bounded_mask}{', bounded' * bounded}"
    rule = denoising_rule("dual", thresholds.bounded_mask)
    return name, _mask_scores(bench.dataset, test, records, name, rule, bounded)


def _settings(
    bench: Bench,
    output: Path,
    images: Path,
    weights: Path | None = None,
    support: str = "",
    bounded_labels: bool = False,
) -> RunSettings:
    """The paper's rules, whatever the configuration has instead: label maps as they grow, its own label correction."""
    dataset = bench.dataset
    support = support or dataset.support
    return RunSettings(
        output=output,
        images=images,
        support=dataset.image(support),
        scribbles=dataset.scribbles("a", support),
        classes=dataset.classes,
        background=dataset.background,
        mode="paper",
        small=bench.small,
        device=bench.device,
        weights=weights,
        overrides=merged({"segmentation": {"plc_guarded": False}}, bench.overrides) if bench.small else bench.overrides,
        bounded_labels=bounded_labels,
    )


def _head(bench: Bench, weights: Path | None) -> dict[str, Any]:
    return bench.head(**({} if weights is None else {"given_weights": _named(weights)}))


def _named(weights: Path) -> str:
    """As the pages call a set of weights: where it is shipped, or the folder alone."""
    return weights.relative_to(SHIPPED).as_posix() if weights.is_relative_to(SHIPPED) else weights.name


def _propagated(bench: Bench, support: str, output: Path, weights: Path) -> Pipeline:
    """One-shot, with PRNets trained on the unlabelled cases: points and pseudo labels of the test cases."""
    pipeline = Pipeline(_settings(bench, output, bench.test_images(), weights, support))
    pipeline.propagate()
    return pipeline


def _points(dataset: Dataset, test: WorkFolder) -> tuple[dict[str, PropagationRecord], dict[str, np.ndarray]]:
    """Case -> record, and case -> the organ that each point was located in."""
    records = {case: PropagationRecord.read(test.propagation.record(case)) for case in dataset.test}
    organs = {case: organs_at(record, read_labels(dataset.label(case))) for case, record in records.items()}
    return records, organs


def _point_lines(
    bench: Bench,
    support: str,
    records: dict[str, PropagationRecord],
    organs: dict[str, np.ndarray],
    rules: Sequence[DenoisingRule],
) -> Iterator[dict[str, Any]]:
    """Of points from a support; a line names it where it is not the dataset's own."""
    prefix = f"{support}, " * (support != bench.dataset.support)
    for row in sweep(records, organs, rules):
        yield result_line("points", prefix + _point_name(row), **_another(bench, support), **row)


def _mask_line(bench: Bench, support: str, name: str, scores: Evaluation) -> dict[str, Any]:
    """Of label maps from a support; the line names it where it is not the dataset's own."""
    suffix = f", {support}" * (support != bench.dataset.support)
    return result_line("masks", name + suffix, **_another(bench, support), scores=scores)


def _another(bench: Bench, support: str) -> dict[str, str]:
    return {} if support == bench.dataset.support else {"support": support}


def _plain_rules(thresholds: Thresholds) -> list[DenoisingRule]:
    """Those that the paper and its code have."""
    return [denoising_rule(rule, tau) for rule in ("dual", "multi") for tau in thresholds.points]


def _rules(thresholds: Thresholds) -> list[DenoisingRule]:
    checked = [denoising_rule("dual", tau, thresholds.tissue_tolerance) for tau in thresholds.points]
    return _plain_rules(thresholds) + checked


def _mask_rules(thresholds: Thresholds) -> dict[str, DenoisingRule]:
    rules = {f"tau {tau}": denoising_rule("dual", tau) for tau in thresholds.masks}
    checked = denoising_rule("dual", thresholds.checked_mask, thresholds.tissue_tolerance)
    return {**rules, f"tau {thresholds.checked_mask}, tissue check": checked}


def _mask_scores(
    dataset: Dataset,
    test: Pipeline,
    records: dict[str, PropagationRecord],
    name: str,
    rule: DenoisingRule,
    bounded: bool = False,
) -> Evaluation:
    work = WorkFolder(test.output / f"dual_{name.replace(', ', '_').replace(' ', '_')}")
    of_support = PropagationRecord.read(test.work.propagation.record(str(test.cohort.support)))
    for record in (*records.values(), of_support):
        write_json(work.propagation.record(record.case), redenoise(record, rule).to_json())
    grow_label_maps(test, work.propagation, work.pseudo_labels, dataset.test, bounded_labels=bounded)
    return evaluate_folder(work.pseudo_labels.path, dataset.labels, dataset.classes, dataset.test)


def _point_name(row: dict[str, Any]) -> str:
    checked = "" if row["tissue_tolerance"] is None else ", tissue check"
    return f"{row['rule']}, tau {row['tau']}{checked}, {row['class']}"
