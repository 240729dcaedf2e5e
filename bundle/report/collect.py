"""What a work directory holds, read tolerantly: a missing or damaged file becomes a sentence, never an error."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bundle.report.volumes import RasVolume, open_labels
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.data.volume_io import find_volumes

logger = logging.getLogger(__name__)

MAPS = ("pseudo", "prediction", "truth")
GRID_TOLERANCE_MM = 1e-2
VIEW_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Run:
    """Everything of a work directory that is not about one case.

    Args:
        output_dir: the work directory.
        cohort: content of `cohort.json`, empty if there is none.
        classes: class name -> label value.
        case_ids: sorted.
        labels: case -> true label map, for the cases that have one.
        state: content of `state.json`.
        notes: sentences about files that could not be read.
    """

    output_dir: Path
    cohort: dict[str, Any]
    classes: dict[str, int]
    case_ids: tuple[str, ...]
    labels: dict[str, Path]
    state: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def support(self) -> str | None:
        """Identifier of the scribbled case."""
        return self.cohort.get("support")

    @property
    def settings(self) -> dict[str, Any]:
        """Content of `run.json`, empty if it is missing or damaged."""
        found = optional_json(self.output_dir / "run.json")
        return found if isinstance(found, dict) else {}

    def image(self, case: str) -> Path | None:
        """The case's image, if the cohort names one that exists."""
        stored = self.cohort.get("cases", {}).get(case, {}).get("image")
        return self.existing(stored)

    def existing(self, stored: str | None) -> Path | None:
        """A path of `cohort.json`, relative ones to the work directory; None if nothing is there."""
        if not stored:
            return None
        found = (path for path in (Path(stored), self.output_dir / stored) if path.exists())
        return next(found, None)

    def label_maps(self, case: str) -> dict[str, Path]:
        """Those of "pseudo", "prediction", "truth" that exist for a case."""
        paths = {
            "pseudo": self.output_dir / "pseudo_labels" / f"{case}.nii.gz",
            "prediction": self.output_dir / "predictions" / f"{case}.nii.gz",
            "truth": self.labels.get(case),
        }
        return {name: path for name, path in paths.items() if path is not None and path.exists()}

    def has(self, folder: str, pattern: str = "*.nii.gz") -> bool:
        """Whether a stage left anything in its folder."""
        return any((self.output_dir / folder).glob(pattern))


@dataclass(frozen=True)
class ClassResult:
    """One class of one case; None where a file is missing.

    Args:
        name, label: of the class.
        points, kept: numbers of propagated points.
        dropped: reason -> number.
        score: mean score of the kept points.
        similarity: level -> mean cosine similarity over all points.
        not_located: the propagation says so.
        volume_ml: map name -> volume.
        dice: (map name, map name) -> Dice; absent where a map is missing or both are empty.
        round_trip_dice: of the support's region and of what its labels become, sent here and back.
        centre: a voxel of the class near its centroid, canonical axes.
        low, high: canonical voxels between which the class lies in any map, stray voxels apart.
        predicted_dice: what the self-check thinks the Dice with the unknown truth is.
        predicted_interval: its lowest and highest value with one witness left out.
        doubts: its reasons to flag the class.
    """

    name: str
    label: int
    points: int | None = None
    kept: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    score: float | None = None
    similarity: Mapping[str, float] = field(default_factory=dict)
    not_located: bool = False
    volume_ml: Mapping[str, float] = field(default_factory=dict)
    dice: Mapping[tuple[str, str], float] = field(default_factory=dict)
    round_trip_dice: float | None = None
    centre: tuple[int, int, int] | None = None
    low: tuple[int, int, int] | None = None
    high: tuple[int, int, int] | None = None
    predicted_dice: float | None = None
    predicted_interval: tuple[float, float] | None = None
    doubts: tuple[str, ...] = ()

    @property
    def kept_share(self) -> float | None:
        """Kept points / all points."""
        return self.kept / self.points if self.points else None

    @property
    def agreement(self) -> float | None:
        """Dice of pseudo label and prediction; None where the class was not located, so has no pseudo label."""
        return None if self.not_located else self.dice.get(("pseudo", "prediction"))

    @property
    def final_volume_ml(self) -> float | None:
        """Volume of the prediction, or of the pseudo label where there is none."""
        return self.volume_ml.get("prediction", self.volume_ml.get("pseudo"))


@dataclass(frozen=True)
class CaseResult:
    """One case: its classes in the cohort's order, background points last, and what could not be read."""

    id: str
    classes: dict[str, ClassResult]
    maps: tuple[str, ...] = ()
    propagated: bool = False
    notes: tuple[str, ...] = ()


def load_run(output_dir: Path, labels: Path | None = None) -> Run:
    """Read the run's own files. Raises BundleError only if `output_dir` or `labels` is no folder."""
    if not output_dir.is_dir():
        raise BundleError("the work directory is missing", stage="report", file=output_dir, expected="a folder")
    notes: list[str] = []
    cohort = _json(output_dir / "cohort.json", notes) or {}
    state = _json(output_dir / "state.json", notes) or {}
    case_ids = tuple(sorted(cohort.get("cases") or _cases_of_results(output_dir)))
    classes = cohort.get("classes") or _classes_of_results(output_dir)
    known = {} if labels is None else {case: path for case, path in find_volumes(labels).items() if case in case_ids}
    if labels is not None and not known:
        notes.append(f"The labels folder {labels} holds none of the cases.")
    return Run(output_dir, cohort, classes, case_ids, known, state, tuple(notes))


def propagation_of(run: Run, case: str, notes: list[str] | None = None) -> dict[str, Any] | None:
    """Content of `propagation/ID.json`, None if it is missing or damaged; the latter goes to `notes`."""
    notes = [] if notes is None else notes
    path = run.output_dir / "propagation" / f"{case}.json"
    content = _json(path, notes)
    if content is not None and not (isinstance(content, dict) and isinstance(content.get("points"), list)):
        notes.append(f"{path.name} holds no points and was left out.")
        return None
    return content


def summarise_case(run: Run, case: str) -> CaseResult:
    """Count points, volumes and Dice of one case. Label maps are read once and dropped."""
    notes: list[str] = []
    propagation = propagation_of(run, case, notes)
    maps = open_maps(run.label_maps(case), notes)
    boxes = {name: ndimage.find_objects(np.asarray(volume.array)) for name, volume in maps.items()}
    trust = _json(run.output_dir / "self_check" / f"{case}.json", notes)
    names = dict(run.classes)
    if propagation is not None and any(point["class"] == "background" for point in propagation["points"]):
        names["background"] = 0
    classes = {}
    for name, label in names.items():
        measured = _measure(maps, boxes, label) if name != "background" else {}
        classes[name] = ClassResult(
            name, label, **_propagation_of_class(propagation, name), **measured, **_trust_in(trust, name)
        )
    return CaseResult(case, classes, tuple(maps), propagation is not None, tuple(notes))


def open_maps(paths: Mapping[str, Path], notes: list[str]) -> dict[str, RasVolume]:
    """Open label maps; those that cannot be read or lie on another grid than the first go to `notes`."""
    maps: dict[str, RasVolume] = {}
    for name, path in paths.items():
        try:
            volume = open_labels(path)
        except BundleError as error:
            notes.append(f"{path.name} of the {name} maps cannot be read: {error.problem}.")
            continue
        first = next(iter(maps.values()), volume)
        same_shape = volume.array.shape == first.array.shape
        if not same_shape or not np.allclose(volume.affine, first.affine, atol=GRID_TOLERANCE_MM):
            notes.append(f"The {name} map lies on another grid than the others and is left out.")
            continue
        maps[name] = volume
    return maps


def read_curve(path: Path) -> dict[str, np.ndarray]:
    """Columns of a curve.csv as floats, NaN where empty; {} if the file is missing or damaged."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = rows[0].keys() if rows else ()
        return {column: np.array([float(row[column] or math.nan) for row in rows]) for column in columns}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.info("no curve in %s (%s)", path, error)
        return {}


def optional_json(path: Path) -> Any:
    """Content of a JSON file, None if it is missing or damaged."""
    return _json(path, [])


def is_phantom(run: Run) -> bool:
    """Whether the cohort is synthetic: `dataset.json` beside the images says so, or an assumption does."""
    if any("phantom" in str(assumption).lower() for assumption in run.cohort.get("assumptions") or ()):
        return True
    folders = {Path(case["source"]).parent.parent for case in run.cohort.get("cases", {}).values() if "source" in case}
    datasets = (optional_json(folder / "dataset.json") for folder in folders | {run.output_dir})
    return any(isinstance(dataset, dict) and dataset.get("phantom") is True for dataset in datasets)


def _json(path: Path, notes: list[str]) -> Any:
    if not path.exists():
        return None
    try:
        return read_json(path)
    except BundleError:
        notes.append(f"{path.name} is damaged and was left out.")
        return None


def _cases_of_results(output_dir: Path) -> set[str]:
    """Identifiers by the files of the stages, for a folder without cohort.json."""
    propagated = {path.stem for path in (output_dir / "propagation").glob("*.json")}
    mapped = {
        p.name.removesuffix(".nii.gz")
        for d in ("pseudo_labels", "predictions")
        for p in (output_dir / d).glob("*.nii.gz")
    }
    return propagated | mapped


def _classes_of_results(output_dir: Path) -> dict[str, int]:
    contents = (optional_json(path) for path in sorted((output_dir / "propagation").glob("*.json")))
    return next((content["classes"] for content in contents if content and content.get("classes")), {})


def _propagation_of_class(propagation: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if propagation is None:
        return {}
    points = [point for point in propagation["points"] if point["class"] == name]
    kept = [point for point in points if point["kept"]]
    reasons = [point.get("reason") or "unknown" for point in points if not point["kept"]]
    levels = list(dict.fromkeys(level for point in points for level in point.get("similarity", {})))
    return {
        "points": len(points),
        "kept": len(kept),
        "dropped": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        "score": _mean(point.get("score") for point in kept),
        "similarity": {level: _mean(point.get("similarity", {}).get(level) for point in points) for level in levels},
        "not_located": name in propagation.get("not_located", ()),
        "round_trip_dice": propagation.get("round_trip_dice", {}).get(name),
    }


def _trust_in(trust: Any, name: str) -> dict[str, Any]:
    """What the self-check says about a class; the reasons that hold for the whole case count for each of them."""
    found = trust.get("classes", {}).get(name) if isinstance(trust, dict) else None
    if found is None:
        return {}
    doubts = (*trust.get("reasons", ()), *found.get("reasons", ()))
    interval = found.get("interval")
    return {
        "predicted_dice": found.get("predicted_dice"),
        "predicted_interval": tuple(interval) if interval else None,
        "doubts": doubts if found.get("flagged") else (),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _measure(maps: Mapping[str, RasVolume], boxes: Mapping[str, list[Any]], label: int) -> dict[str, Any]:
    """Volumes, Dice of every pair of maps, centre and bounding box of one class, inside its bounding box."""
    own = {name: found[label - 1] for name, found in boxes.items() if label <= len(found) and found[label - 1]}
    if not own:
        return {"volume_ml": dict.fromkeys(maps, 0.0)}
    low = np.min([[s.start for s in box] for box in own.values()], axis=0)
    high = np.max([[s.stop for s in box] for box in own.values()], axis=0)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    masks = {name: np.asarray(volume.array[box]) == label for name, volume in maps.items()}
    counts = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    first, last = np.percentile(np.argwhere(np.any(list(masks.values()), axis=0)), VIEW_PERCENTILES, axis=0)
    voxel_ml = float(np.prod(next(iter(maps.values())).spacing_mm)) / 1000
    shown = next(masks[name] for name in ("prediction", "pseudo", "truth") if counts.get(name))
    return {
        "volume_ml": {name: count * voxel_ml for name, count in counts.items()},
        "dice": _dices(masks, counts),
        "centre": tuple(int(v) for v in low + _central_voxel(shown)),
        "low": tuple(int(v) for v in low + np.floor(first)),
        "high": tuple(int(v) for v in low + np.ceil(last)),
    }


def _dices(masks: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> dict[tuple[str, str], float]:
    pairs = [(a, b) for i, a in enumerate(MAPS) for b in MAPS[i + 1 :] if a in masks and b in masks]
    return {
        (a, b): 2 * int(np.count_nonzero(masks[a] & masks[b])) / (counts[a] + counts[b])
        for a, b in pairs
        if counts[a] + counts[b]
    }


def _central_voxel(mask: np.ndarray) -> np.ndarray:
    """The mask's voxel nearest to its centroid (the centroid itself may lie outside a bent organ)."""
    voxels = np.argwhere(mask)
    return voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
