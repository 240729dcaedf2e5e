"""Single stages on folders that no pipeline has: every call of a stage that a benchmark makes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from bundle.pipeline.configs import encoded, key_path, read_configs
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import BASES, config_names
from scripts.common.work_folder import LabelFolder, PropagationFolder, WorkFolder
from scripts.pseudo_labels.stage import PseudoLabelStage
from scripts.quality.records import STAGE, CheckRecord
from scripts.quality.self_check import SelfCheckStage
from scripts.segmentation.ensemble.choice_stage import ChoiceStage
from scripts.segmentation.ensemble.stage import EnsembleStage


def component(settings: RunSettings, stage: str, key: str, title: str = "") -> Any:
    """A component of a stage's config as a run of these settings builds it; plain values as they are.

    `title`: of the stage in its mode's plan, where it has a patch of its own.
    """
    names = config_names(stage, settings)
    names += [f"{title}/{base}" for base in BASES[stage]] if title else []
    config = read_configs(names)
    parser = ConfigParser(config)
    parser.update(encoded(names, settings.overrides.get(stage, {})))
    return parser.get_parsed_content(key_path(config, key))


def grow_label_maps(
    pipeline: Pipeline,
    propagation: PropagationFolder,
    labels: LabelFolder,
    cases: Sequence[str],
    bounded_labels: bool | None = None,
) -> None:
    """Label maps of the pipeline's cases from points and class probabilities that lie elsewhere.

    Args:
        pipeline: whose cases, support and settings.
        propagation: points and probabilities.
        labels: where the label maps go.
        cases: which.
        bounded_labels: whether they are bounded (mode `paper`); None: as the pipeline's are.
    """
    chosen = pipeline.settings
    if bounded_labels is not None:
        chosen = replace(chosen, bounded_labels=bounded_labels)
    settings = component(chosen, "pseudo_labels", "settings")
    record = pipeline.support_mask_record()
    PseudoLabelStage(pipeline.cohort, propagation.path, labels.path, settings, support_mask_record=record).run(cases)


def join_network(pipeline: Pipeline, network: LabelFolder, cases: Sequence[str]) -> None:
    """The network's class probabilities of the pipeline's cases joined with the atlases', beside its label maps."""
    work = work_folder(pipeline)
    EnsembleStage(
        cohort=pipeline.cohort,
        network_dir=network.path,
        propagation_dir=work.propagation.path,
        labels_dir=work.pseudo_labels.path,
        checks_dir=work.self_check_pseudo_labels,
        settings=component(pipeline.settings, "ensemble", "settings"),
    ).run(cases)


def choose_label_maps(pipeline: Pipeline, joined: LabelFolder, labels: LabelFolder, cases: Sequence[str]) -> None:
    """Of the pipeline's pseudo labels and other label maps of the same cases the more trusted classes.

    Args:
        pipeline: in mode `default`, these cases propagated.
        joined: the other label maps.
        labels: where the chosen ones go.
        cases: which.
    """
    work, checks = work_folder(pipeline), joined.path / STAGE
    check_label_maps(pipeline, joined, cases, checks=checks)
    ChoiceStage(
        cohort=pipeline.cohort,
        joined_dir=joined.path,
        joined_checks_dir=checks,
        transferred_dir=work.pseudo_labels.path,
        transferred_checks_dir=work.self_check_pseudo_labels,
        labels_dir=labels.path,
        settings=component(pipeline.settings, "choice", "settings"),
    ).run(cases)


def check_label_maps(
    pipeline: Pipeline,
    results: LabelFolder,
    cases: Sequence[str],
    network: LabelFolder | None = None,
    checks: Path | None = None,
) -> dict[str, CheckRecord]:
    """What the self-check says of the pipeline's cases' label maps.

    Args:
        pipeline: in mode `default`, these cases propagated.
        results: the label maps.
        cases: which.
        network: a network's own label maps of the same cases, if there is one.
        checks: where the records go; None for a folder of the pipeline.
    """
    checks = checks or pipeline.output / f"{STAGE}_{results.path.name}"
    check = SelfCheckStage(
        cohort=pipeline.cohort,
        output_dir=pipeline.output,
        support_mask=pipeline.support_mask(),
        support_mask_record=pipeline.support_mask_record(),
        results_dir=results.path,
        checks_dir=checks,
        rule=component(pipeline.settings, STAGE, "rule"),
        network_dir=None if network is None else network.path,
    )
    check.run(cases)
    return {case: CheckRecord.read(checks / f"{case}.json") for case in cases}


def work_folder(pipeline: Pipeline) -> WorkFolder:
    """Every path of a pipeline's work directory."""
    return WorkFolder(pipeline.output)
