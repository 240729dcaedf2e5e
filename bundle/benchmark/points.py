"""How many propagated points are kept, and how many of those lie in the right organ, at several thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels
from scripts.common.files import read_json, write_json
from scripts.data.volume_io import Volume, read_labels
from scripts.points.denoising import KEPT, DenoisingRule, denoise, product_of_levels


def redenoise(record: Mapping[str, Any], rule: DenoisingRule) -> dict[str, Any]:
    """A `propagation/ID.json` record as it would be under another rule; located positions stay."""
    points = record["points"]
    levels = {level: np.array([point["similarity"][level] for point in points]) for level in rule.levels}
    scores = product_of_levels(levels, rule.levels)
    labels = np.array([point["label"] for point in points])
    voxels = np.array([point["working_voxel"] for point in points])
    misfits = np.array([point["tissue_misfit"] for point in points])
    at_home = record["case"] == record["support"]
    reasons = [KEPT] * len(points) if at_home else denoise(labels, voxels, scores, misfits, rule)
    changed = [
        point | {"score": round(float(score), 4), "kept": reason == KEPT, "reason": reason}
        for point, score, reason in zip(points, scores, reasons, strict=True)
    ]
    kept = {point["label"] for point in changed if point["kept"]}
    not_located = [name for name, value in record["classes"].items() if value not in kept]
    rules = {"rule": rule.name, "levels": list(rule.levels), "tau": rule.tau, "tissue_tolerance": rule.tissue_tolerance}
    return {**record, **rules, "points": changed, "not_located": not_located}


def write_redenoised(source: Path, target: Path, rule: DenoisingRule, cases: Sequence[str]) -> None:
    """`propagation/ID.json` of `cases` under another rule, from work directory `source` into `target`."""
    for case in cases:
        record = read_json(source / "propagation" / f"{case}.json")
        write_json(target / "propagation" / f"{case}.json", redenoise(record, rule))


def count_points(record: Mapping[str, Any], truth: Volume) -> dict[str, dict[str, int]]:
    """Per class: all points, kept points, and kept points in the right organ (background: in none of the classes)."""
    classes = {**record["classes"], "background": 0}
    located_mm = np.array([point["located_mm"] for point in record["points"]])
    voxels = nearest_voxels(to_voxels(located_mm, truth.affine), truth.array.shape)
    there = truth.array[tuple(voxels.T)].astype(int)
    there = np.where(np.isin(there, list(record["classes"].values())), there, 0)
    labels = np.array([point["label"] for point in record["points"]])
    kept = np.array([point["kept"] for point in record["points"]])
    return {
        name: {
            "all": int((labels == value).sum()),
            "kept": int((kept & (labels == value)).sum()),
            "right": int((kept & (labels == value) & (there == value)).sum()),
        }
        for name, value in classes.items()
    }


def sweep(work_dir: Path, labels: Path, cases: Sequence[str], rules: Sequence[DenoisingRule]) -> list[dict[str, Any]]:
    """Rows of `score_records` for each rule, with the rule's name and thresholds."""
    rows = []
    for rule in rules:
        records = {case: redenoise(_record(work_dir, case), rule) for case in cases}
        about = {"rule": rule.name, "tau": rule.tau, "tissue_tolerance": rule.tissue_tolerance}
        rows += [about | row for row in score_records(records, labels)]
    return rows


def score_kept(work_dir: Path, labels: Path, cases: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of `score_records` for the points as they were kept."""
    return score_records({case: _record(work_dir, case) for case in cases}, labels)


def score_records(records: Mapping[str, Mapping[str, Any]], labels: Path) -> list[dict[str, Any]]:
    """One row per class: mean over cases of the share kept and of the share of kept points in the right organ.

    A case in which a class keeps no point counts in the share kept (0) but not in the precision.
    """
    counts = [count_points(record, _truth(labels, case)) for case, record in records.items()]
    rows = []
    for name in counts[0]:
        kept = [count[name]["kept"] / count[name]["all"] for count in counts]
        right = [count[name]["right"] / count[name]["kept"] for count in counts if count[name]["kept"]]
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


def _record(work_dir: Path, case: str) -> dict[str, Any]:
    return read_json(work_dir / "propagation" / f"{case}.json")


@lru_cache(maxsize=16)
def _truth(labels: Path, case: str) -> Volume:
    return read_labels(labels / f"{case}.nii.gz")
