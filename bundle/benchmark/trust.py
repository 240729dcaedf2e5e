"""How well the self-check knows what it cannot see: predicted against true Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.pipeline.configs import read_component
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.stages import config_names
from scripts.common.files import read_json
from scripts.quality.calibration import summary
from scripts.quality.records import STAGE
from scripts.quality.self_check import SelfCheck


def check_trust(
    pipeline: Pipeline, results: Path, scores: Mapping[str, Any], network: Path | None = None
) -> dict[str, Any]:
    """Check label maps of the pipeline's cases and compare with their scores.

    Args:
        pipeline: in mode `default`, these cases propagated.
        results: the label maps, `ID.nii.gz`.
        scores: of the same label maps, as `evaluate_folder` returns them.
        network: a network's own label maps of the same cases, if there is one.
    """
    records = trust_records(pipeline, results, list(scores["cases"]), network)
    pairs = [
        {
            "case": case,
            "class": name,
            "predicted": record["classes"][name]["predicted_dice"],
            "interval": record["classes"][name]["interval"],
            "flagged": record["classes"][name]["flagged"],
            "true": scores["cases"][case][name]["dice"] or 0.0,
        }
        for case, record in records.items()
        for name in record["classes"]
        if scores["cases"][case][name]["status"] != "absent"
    ]
    return {**summary(pairs), "pairs": pairs}


def trust_records(
    pipeline: Pipeline, results: Path, cases: Sequence[str], network: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Case -> what the self-check says about its label map in the folder `results`."""
    rule = read_component(config_names(STAGE, pipeline.settings), "rule")
    where = pipeline.localisation
    region, record = where.support_mask(pipeline), where.support_mask_record(pipeline)
    checks = pipeline.output / f"{STAGE}_{results.name}"
    SelfCheck(pipeline.cohort, pipeline.output, region, results, rule, network, checks, record).run(cases)
    return {case: read_json(checks / f"{case}.json") for case in cases}
