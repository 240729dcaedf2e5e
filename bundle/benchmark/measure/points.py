"""How many propagated points are kept, and how many of those lie in the right organ, at several thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels
from scripts.data.records import PropagationRecord
from scripts.data.volume_io import Volume
from scripts.point_propagation.propagate_case import CYCLE_MM, TISSUE_MISFIT
from scripts.points.denoising import DenoisingRule, denoise, product_of_levels


class PointCount(NamedTuple):
    """Points of one class in one case: all, those kept, and of these those in the right organ."""

    all: int
    kept: int
    right: int


def redenoise(record: PropagationRecord, rule: DenoisingRule) -> PropagationRecord:
    """A record of mode `paper` as it would be under another rule.

    Located positions, the support's own, and the tolerance for the way back stay.
    """
    rule = replace(rule, point_cycle_mm=record.rule.get("point_cycle_mm"))
    named = replace(record, rule=asdict(rule))
    if record.case == record.support:
        return named
    points = record.points
    scores = product_of_levels(points.similarities, rule.levels)
    misfits, cycle_mm = points.evidence[TISSUE_MISFIT], points.evidence.get(CYCLE_MM)
    reasons = denoise(points.labels, points.working_voxels, scores, misfits, rule, cycle_mm)
    return replace(named, points=replace(points, scores=scores, reasons=np.array(reasons, dtype=object)))


def organs_at(record: PropagationRecord, truth: Volume) -> np.ndarray:
    """(N,) true label value where each point was located, 0 in none of the record's classes.

    A point outside the volume counts at the nearest voxel.
    """
    voxels = nearest_voxels(to_voxels(record.points.located_mm, truth.affine), truth.array.shape)
    values = truth.array[tuple(voxels.T)].astype(int)
    return np.where(np.isin(values, list(record.classes.values())), values, 0)


def count_points(record: PropagationRecord, organs: np.ndarray) -> dict[str, PointCount]:
    """Class -> counts, "background" last; `organs` as `organs_at` returns it."""
    labels, kept = record.points.labels, record.points.kept
    return {
        name: PointCount(
            int((labels == value).sum()),
            int((kept & (labels == value)).sum()),
            int((kept & (labels == value) & (organs == value)).sum()),
        )
        for name, value in {**record.classes, "background": 0}.items()
    }


def score_points(records: Mapping[str, PropagationRecord], organs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per class: mean over cases of the share kept and of the share of kept points in the right organ.

    A case in which a class keeps no point counts in the share kept (0) but not in the precision.

    Args:
        records: case -> record.
        organs: case -> what `organs_at` returns.
    """
    counts = [count_points(record, organs[case]) for case, record in records.items()]
    rows = []
    for name in counts[0]:
        kept = [count[name].kept / count[name].all for count in counts]
        right = [count[name].right / count[name].kept for count in counts if count[name].kept]
        rows.append(
            {
                "class": name,
                "kept_mean": float(np.mean(kept)),
                "kept_sd": float(np.std(kept)),
                "precision_mean": float(np.mean(right)) if right else None,
                "precision_sd": float(np.std(right)) if right else None,
                "cases_with_points": len(right),
            }
        )
    return rows


def sweep(
    records: Mapping[str, PropagationRecord], organs: Mapping[str, np.ndarray], rules: Sequence[DenoisingRule]
) -> list[dict[str, Any]]:
    """Rows of `score_points` for each rule, with the rule's name and thresholds."""
    rows = []
    for rule in rules:
        judged = {case: redenoise(record, rule) for case, record in records.items()}
        about = {"rule": rule.name, "tau": rule.tau, "tissue_tolerance": rule.tissue_tolerance}
        rows += [about | row for row in score_points(judged, organs)]
    return rows
