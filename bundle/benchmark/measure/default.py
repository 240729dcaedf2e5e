"""Mode `default` on a labelled cohort: one embedding network, several supports and scribble variants.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from bundle.benchmark.measure.out_of_distribution import COUNT, flag_out_of_distribution
from bundle.benchmark.measure.points import organs_at, score_points
from bundle.benchmark.measure.runs import Bench, Run, chosen_runs, first_runs
from bundle.benchmark.measure.stage_calls import component, work_folder
from bundle.benchmark.measure.trained import one_shot_network, pseudo_label_scores, supervised_network
from bundle.benchmark.measure.trust import check_trust
from bundle.benchmark.results import (
    ALL_CLASSES,
    ALL_CLASSES_FURTHER,
    ALL_CLASSES_NETWORK,
    AS_GROWN,
    ONE_SHOT,
    PSEUDO_LABELS,
    SUPERVISED,
    result_line,
)
from bundle.datasets.dataset import Dataset
from bundle.pipeline.pipeline import Pipeline
from scripts.data.records import PropagationRecord
from scripts.data.volume_io import read_labels
from scripts.quality.evaluation import evaluate_folder


def measure(bench: Bench, others: Dataset | None = None, count: int = COUNT) -> Iterator[dict[str, Any]]:
    """Run everything (again: continue); the lines of the raw results, each as soon as it is measured.

    Args:
        bench: see `open_bench`.
        others: a dataset of another body part, which must be flagged; None leaves that out.
        count: of its volumes.
    """
    dataset = bench.dataset
    trained, one_shot = bench.train(), bench.on_unlabelled(ONE_SHOT)
    limit = component(one_shot.settings, "label_fusion", "least_point_probability")
    yield bench.head(least_point_probability=limit)
    yield stages_line("embedding", trained)
    yield network_line(PSEUDO_LABELS, {"scores": pseudo_label_scores(dataset, one_shot)})
    first, *further = chosen_runs(dataset)
    raters = bench.on_test(first)
    yield by_atlases(dataset, first, raters)
    for name, measured in one_shot_network(dataset, one_shot, raters).items():
        yield network_line(name, measured)
    yield stages_line(ONE_SHOT, one_shot)
    if others is not None:
        network = one_shot.output / ONE_SHOT / "segmentation"
        yield from flag_out_of_distribution(bench, first, others, network, count)
    yield network_line(SUPERVISED, {"scores": supervised_network(dataset, bench.on_unlabelled(SUPERVISED))})
    for run in further:
        yield by_atlases(dataset, run, bench.on_test(run))
    everything = replace(bench, dataset=replace(dataset, classes=dataset.all_classes))
    yield from _with_all_classes(everything, first)
    yield from from_further_supports(everything)


def from_further_supports(bench: Bench) -> Iterator[dict[str, Any]]:
    """Every class of the bench at once, by the atlases alone, from each support but the first."""
    for run in first_runs(bench.dataset)[1:]:
        raters = bench.on_test(run, f"{ALL_CLASSES}_{run.support}")
        yield by_atlases(bench.dataset, run, raters) | {"what": ALL_CLASSES_FURTHER}


def _with_all_classes(bench: Bench, run: Run) -> Iterator[dict[str, Any]]:
    """Every labelled class at once: by the atlases alone, with a network, and that network's bound."""
    dataset, raters = bench.dataset, bench.on_test(run, ALL_CLASSES)
    yield by_atlases(dataset, run, raters) | {"what": ALL_CLASSES}
    unlabelled = bench.on_unlabelled(ALL_CLASSES_NETWORK)
    yield result_line(ALL_CLASSES_NETWORK, PSEUDO_LABELS, scores=pseudo_label_scores(dataset, unlabelled))
    for name, measured in one_shot_network(dataset, unlabelled, raters).items():
        yield result_line(ALL_CLASSES_NETWORK, name, **measured)
    bound = supervised_network(dataset, bench.on_unlabelled(f"{ALL_CLASSES}_{SUPERVISED}"))
    yield result_line(ALL_CLASSES_NETWORK, SUPERVISED, scores=bound)


def network_line(name: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of a network, or of what it is compared with, and what the self-check says where it was asked."""
    return result_line("network", name, **measured)


def stages_line(name: str, pipeline: Pipeline) -> dict[str, Any]:
    """What every stage of a work directory took."""
    taken = {
        stage: {key: entry[key] for key in ("seconds", "peak_memory_mb") if key in entry}
        for stage, entry in pipeline.directory.state().items()
    }
    return result_line("stages", name, stages=taken)


def by_atlases(dataset: Dataset, run: Run, pipeline: Pipeline) -> dict[str, Any]:
    """Points and masks of the test volumes, and how far the self-check knows their quality."""
    pipeline.propagate()
    work, classes = work_folder(pipeline), pipeline.cohort.classes
    grown = None
    if run.support_mask == AS_GROWN:
        grown = evaluate_folder(pipeline.support_mask().parent, dataset.labels, classes, [run.support])
    records = {case: PropagationRecord.read(work.propagation.record(case)) for case in dataset.test}
    organs = {case: organs_at(record, read_labels(dataset.label(case))) for case, record in records.items()}
    scores = evaluate_folder(work.pseudo_labels.path, dataset.labels, classes, dataset.test)
    return result_line(
        "run",
        run.name,
        **asdict(run),
        support_mask_scores=grown,
        points=score_points(records, organs),
        scores=scores,
        trust=check_trust(pipeline, work.pseudo_labels, scores),
        stages=stages_line("", pipeline)["stages"],
    )
