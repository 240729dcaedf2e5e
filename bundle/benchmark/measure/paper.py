"""Mode `paper` on a labelled cohort: points, pseudo labels, trained networks, time and memory.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.measure.default import network_line, stages_line
from bundle.benchmark.measure.points import organs_at, redenoise, sweep
from bundle.benchmark.measure.runs import Bench
from bundle.benchmark.measure.stage_calls import grow_label_maps, work_folder
from bundle.benchmark.measure.trained import score_network
from bundle.benchmark.results import result_line
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PropagationRecord
from scripts.data.volume_io import read_labels
from scripts.points.denoising import DenoisingRule, denoising_rule
from scripts.quality.evaluation import Evaluation, evaluate_folder


@dataclass(frozen=True)
class Thresholds:
    """What is tried.

    Attributes:
        points: tau of the denoising, for points.
        masks: tau of those whose label maps are grown and scored too.
        checked_mask: tau of the mask with the tissue check.
        tissue_tolerance: of that check, which the paper does not have.
    """

    points: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    masks: Sequence[float] = (0.0, 0.5, 0.9)
    checked_mask: float = 0.5
    tissue_tolerance: float = 0.08


def measure(bench: Bench, thresholds: Thresholds | None = None) -> Iterator[dict[str, Any]]:
    """Run everything (again: continue); the lines of the raw results, each as soon as it is measured.

    Args:
        bench: dataset, work directory, configuration; its runs are in mode `paper` here.
        thresholds: of the denoising.
    """
    thresholds = thresholds or Thresholds()
    dataset, output, device = bench.dataset, bench.output, bench.device
    pipeline = _train(bench)
    without_plc = pipeline.train_segmentation("without_plc", {"use_plc": False})
    guarded_plc = pipeline.train_segmentation("guarded_plc", {"plc_guarded": True})
    test = _propagate_to_test(bench)
    yield bench.head()
    records, organs = _points(dataset, work_folder(test))
    for row in sweep(records, organs, _rules(thresholds)):
        yield result_line("points", _point_name(row), **row)
    for name, rule in _mask_rules(thresholds).items():
        yield result_line("masks", name, scores=_mask_scores(dataset, test, records, name, rule))
    plain = work_folder(pipeline).segmentation
    trained = {"without_plc": without_plc, "with_plc": plain, "guarded_plc": guarded_plc}
    for name, model in trained.items():
        yield network_line(name, {"scores": score_network(dataset, model, output / f"test_{name}", device)})
    yield stages_line("unlabelled", pipeline)
    yield stages_line("test", test)
    pipeline.report(dataset.labels)
    test.report(dataset.labels)


def _settings(bench: Bench, output: Path, images: Path, weights: Path | None = None) -> RunSettings:
    dataset = bench.dataset
    return RunSettings(
        output=output,
        images=images,
        support=dataset.image(dataset.support),
        scribbles=dataset.scribbles("a"),
        classes=dataset.classes,
        background=dataset.background,
        mode="paper",
        small=bench.small,
        device=bench.device,
        weights=weights,
        overrides=bench.overrides,
    )


def _train(bench: Bench) -> Pipeline:
    images = {case: bench.dataset.image(case) for case in bench.dataset.unlabelled}
    pipeline = Pipeline(_settings(bench, bench.output, link_images(images, bench.output / "unlabelled")))
    pipeline.run()
    return pipeline


def _propagate_to_test(bench: Bench) -> Pipeline:
    """One-shot, with the PRNets trained on the unlabelled cases: points and pseudo labels of the test cases."""
    images = {case: bench.dataset.image(case) for case in bench.dataset.test}
    linked = link_images(images, bench.output / "test_images")
    pipeline = Pipeline(_settings(bench, bench.output / "test", linked, WorkFolder(bench.output).prnet))
    pipeline.propagate()
    return pipeline


def _points(dataset: Dataset, test: WorkFolder) -> tuple[dict[str, PropagationRecord], dict[str, np.ndarray]]:
    """Case -> record, and case -> the organ that each point was located in."""
    records = {case: PropagationRecord.read(test.propagation.record(case)) for case in dataset.test}
    organs = {case: organs_at(record, read_labels(dataset.label(case))) for case, record in records.items()}
    return records, organs


def _rules(thresholds: Thresholds) -> list[DenoisingRule]:
    plain = [denoising_rule(rule, tau) for rule in ("dual", "multi") for tau in thresholds.points]
    return plain + [denoising_rule("dual", tau, thresholds.tissue_tolerance) for tau in thresholds.points]


def _mask_rules(thresholds: Thresholds) -> dict[str, DenoisingRule]:
    rules = {f"tau {tau}": denoising_rule("dual", tau) for tau in thresholds.masks}
    checked = denoising_rule("dual", thresholds.checked_mask, thresholds.tissue_tolerance)
    return {**rules, f"tau {thresholds.checked_mask}, tissue check": checked}


def _mask_scores(
    dataset: Dataset, test: Pipeline, records: dict[str, PropagationRecord], name: str, rule: DenoisingRule
) -> Evaluation:
    work = WorkFolder(test.output / f"dual_{name.replace(', ', '_').replace(' ', '_')}")
    for record in records.values():
        write_json(work.propagation.record(record.case), redenoise(record, rule).to_json())
    grow_label_maps(test, work.propagation, work.pseudo_labels, dataset.test)
    return evaluate_folder(work.pseudo_labels.path, dataset.labels, dataset.classes, dataset.test)


def _point_name(row: dict[str, Any]) -> str:
    checked = "" if row["tissue_tolerance"] is None else ", tissue check"
    return f"{row['rule']}, tau {row['tau']}{checked}, {row['class']}"
