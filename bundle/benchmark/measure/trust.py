"""How well the self-check knows what it cannot see: predicted against true Dice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle.benchmark.measure.stage_calls import check_label_maps
from bundle.pipeline.pipeline import Pipeline
from scripts.common.work_folder import LabelFolder
from scripts.quality.calibration import interval_coverage, summary
from scripts.quality.evaluation import Evaluation
from scripts.quality.records import CheckRecord


def check_trust(
    pipeline: Pipeline, results: LabelFolder, scores: Evaluation, network: LabelFolder | None = None
) -> dict[str, Any]:
    """Check label maps of the pipeline's cases and compare with their scores.

    Args:
        pipeline: in mode `default`, these cases propagated.
        results: the label maps.
        scores: of the same label maps, as `evaluate_folder` returns them.
        network: a network's own label maps of the same cases, if there is one.
    """
    pairs = trust_pairs(check_label_maps(pipeline, results, list(scores["cases"]), network), scores)
    return {**summary(pairs), "interval_coverage": interval_coverage(pairs), "pairs": pairs}


def trust_pairs(records: Mapping[str, CheckRecord], scores: Evaluation) -> list[dict[str, Any]]:
    """Predicted and true Dice of every (case, class) that the truth has; a class that was not predicted has 0."""
    return [
        {
            "case": case,
            "class": name,
            "predicted": check.predicted_dice,
            "interval": list(check.interval),
            "flagged": check.flagged,
            "true": scores["cases"][case][name]["dice"] or 0.0,
        }
        for case, record in records.items()
        for name, check in record.classes.items()
        if scores["cases"][case][name]["status"] != "absent"
    ]
