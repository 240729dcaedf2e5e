"""What a run of the golden chain gave: hashes of every voxel, and the numbers that a reader compares."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from scripts.common.files import read_json
from scripts.common.overlap import dice_of
from scripts.data.records import KEPT, PropagationRecord
from scripts.data.scribbles import BACKGROUND
from tests.golden.chain import GoldenCohort

WORDS_BEFORE = {"low probability": "vote"}  # reasons have other words than when the hashes were recorded
DICE = ("dice", "predicted_dice")
SHIPPED_CLASSES = ("spleen", "left_kidney", "liver")


def machine() -> dict[str, Any]:
    """What hashes depend on besides the code: the same bits are promised on the same machine alone."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__, "numpy": np.__version__}


def collect(cohort: GoldenCohort, output: Path) -> dict[str, Any]:
    """Everything of `run_chain` that may not change: {"hashes": {what: sha256}, "dice": ..., "predicted_dice": ...}."""
    hashes: dict[str, str] = {}
    for case in cohort.cases:
        for mode in ("default", "paper"):
            hashes |= {f"{mode} {what}": found for what, found in _propagated(output / mode, case).items()}
    for case in cohort.labelled_by_network:
        hashes[f"network label map {case}"] = _hash_of_volume(output / "network" / f"{case}.nii.gz")
    checked = {
        case: read_json(output / "default" / "self_check_pseudo_labels" / f"{case}.json")
        for case in cohort.cases
        if case != cohort.dataset.support
    }
    shipped = {name: number for number, name in enumerate(SHIPPED_CLASSES, start=1)}
    return {
        "hashes": hashes,
        "dice": {
            "default": _dice(cohort, cohort.cases, output / "default" / "pseudo_labels", cohort.dataset.classes),
            "paper": _dice(cohort, cohort.cases, output / "paper" / "pseudo_labels", cohort.dataset.classes),
            "network": _dice(cohort, cohort.labelled_by_network, output / "network", shipped),
        },
        "predicted_dice": {
            case: {name: found["predicted_dice"] for name, found in record["classes"].items()}
            for case, record in checked.items()
        },
        "flags": {
            case: {name: found["flagged"] for name, found in record["classes"].items()}
            for case, record in checked.items()
        },
    }


def collect_miniature(cohort: GoldenCohort, output: Path) -> dict[str, Any]:
    """The same of `run_miniature`: trained weights and label maps; its Dice says nothing and is left out."""
    hashes = {
        f"{mode} weights {network}": _hash_of_weights(output / mode / network / "model.pt")
        for mode, networks in (
            ("default", ("embedding", "segmentation")),
            ("paper", ("prnet/coarse", "prnet/fine", "segmentation")),
        )
        for network in networks
    }
    for mode in ("default", "paper"):
        for case in cohort.cases:
            hashes |= {f"{mode} {what}": found for what, found in _propagated(output / mode, case).items()}
            hashes[f"{mode} label map {case}"] = _hash_of_volume(output / mode / "predictions" / f"{case}.nii.gz")
    others = [case for case in cohort.cases if case != cohort.dataset.support]
    checked = {case: read_json(output / "default" / "self_check" / f"{case}.json")["classes"] for case in others}
    return {
        "hashes": hashes,
        "dice": {},
        "predicted_dice": {
            case: {name: found["predicted_dice"] for name, found in classes.items()}
            for case, classes in checked.items()
        },
        "flags": {
            case: {name: found["flagged"] for name, found in classes.items()} for case, classes in checked.items()
        },
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what is not the same to the bit."""
    names = sorted({*before["hashes"], *after["hashes"]})
    changed = [name for name in names if before["hashes"].get(name) != after["hashes"].get(name)]
    return changed + [key for key in ("dice", "predicted_dice", "flags") if before[key] != after[key]]


def outside_band(before: Mapping[str, Any], after: Mapping[str, Any], band: float) -> list[str]:
    """Names of the Dice, true and predicted, that differ by more than `band`, or that only one of them has."""
    old, new = ({name: value for key in DICE for name, value in _flat(run[key], key)} for run in (before, after))
    names = sorted({*old, *new})
    missing = [name for name in names if name not in old or name not in new]
    return missing + [name for name in names if name not in missing and abs(old[name] - new[name]) > band]


def _flat(table: Any, path: str) -> list[tuple[str, float]]:
    """Path of keys -> number."""
    if not isinstance(table, Mapping):
        return [(path, float(table))]
    return [pair for key, value in table.items() for pair in _flat(value, f"{path} {key}")]


def _propagated(folder: Path, case: str) -> dict[str, str]:
    rows = _point_rows(PropagationRecord.read(folder / "propagation" / f"{case}.json"))
    found = {
        f"points {case}": _sha256(json.dumps(rows).encode()),
        f"drawn points {case}": _hash_of_volume(folder / "propagation" / f"{case}_scribbles.nii.gz"),
        f"pseudo label {case}": _hash_of_volume(folder / "pseudo_labels" / f"{case}.nii.gz"),
    }
    volumes = {
        "fused probabilities": folder / "propagation" / f"{case}_probabilities.nii.gz",
        "predictions of each atlas": folder / "propagation" / f"{case}_atlases.nii.gz",
        "first round's probabilities": folder / "first_round" / "propagation" / f"{case}_probabilities.nii.gz",
        "first round's pseudo label": folder / "first_round" / "pseudo_labels" / f"{case}.nii.gz",
        "support mask": folder / "support_mask" / f"{case}.nii.gz",
        "mask by the other atlases": folder / "on_support" / "pseudo_labels" / f"{case}.nii.gz",
    }
    return found | {f"{what} {case}": _hash_of_volume(file) for what, file in volumes.items() if file.exists()}


def _point_rows(record: PropagationRecord) -> list[list[Any]]:
    """A row a point, as it was recorded when the hashes were: class, places, working voxel, score, kept, reason."""
    names = {value: name for name, value in record.classes.items()} | {0: BACKGROUND}
    points = record.points
    columns = (points.labels, points.support_mm, points.located_mm, points.working_voxels, points.scores)
    return [
        [names[label], *numbers, reason == KEPT, WORDS_BEFORE.get(reason, reason)]
        for label, *numbers, reason in zip(*(column.tolist() for column in columns), points.reasons, strict=True)
    ]


def _dice(
    cohort: GoldenCohort, cases: Sequence[str], folder: Path, classes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Case -> class -> Dice against the label, three digits."""
    table: dict[str, dict[str, float]] = {}
    for case in cases:
        label = np.asarray(nib.load(cohort.dataset.label(case)).dataobj)
        found = np.asarray(nib.load(folder / f"{case}.nii.gz").dataobj)
        table[case] = {
            name: round(dice_of(found == value, label == cohort.dataset.all_classes[name]), 3)
            for name, value in classes.items()
        }
    return table


def _hash_of_volume(file: Path) -> str:
    """Of every voxel, its type, the shape and the affine; not of the file, whose compression may differ."""
    image = nib.load(file)
    array = np.ascontiguousarray(image.dataobj)
    return _sha256(f"{array.dtype} {array.shape}".encode() + image.affine.tobytes() + array.tobytes())


def _hash_of_weights(file: Path) -> str:
    weights = torch.load(file, map_location="cpu", weights_only=True)
    return _sha256(b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(weights.items())))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
