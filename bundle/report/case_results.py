"""What a run left of one case: points, volumes, overlap of its label maps, and what the self-check says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import ndimage

from bundle.report.markup import MAP_WORDS
from bundle.report.run import Run, tolerant, warnings_of
from bundle.report.volumes import RasVolume, open_labels
from scripts.common.affines import voxel_ml
from scripts.common.errors import BundleError
from scripts.common.overlap import dice_of
from scripts.data.records import PropagationRecord
from scripts.data.scribbles import BACKGROUND
from scripts.quality.records import CheckRecord

MAPS = ("pseudo", "prediction", "truth")
GRID_TOLERANCE_MM = 1e-2
VIEW_PERCENTILES = (1, 99)

Boxes = Sequence[tuple[slice, ...] | None]  # of the label values 1, 2, ...; None of one that is absent
Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class ClassResult:
    """One class of one case; None where a file is missing.

    Attributes:
        name, label: of the class.
        points, kept: numbers of propagated points.
        dropped: reason -> number.
        score: mean score of the kept points.
        not_located: no point was kept, or there was none.
        volume_ml: map name -> volume.
        dice: (map name, map name) -> Dice; absent where a map is missing or both are empty.
        round_trip_dice: of the support mask and of what it becomes, sent here and back.
        centre: a voxel of the class near its centroid, canonical axes.
        low, high: canonical voxels between which the class lies in any map, stray voxels apart.
        predicted_dice: what the self-check thinks the Dice with the unknown truth is.
        predicted_interval: that holds it, see `ClassCheck`.
        reasons: why the self-check flags the class; none if it does not.
    """

    name: str
    label: int
    points: int | None = None
    kept: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    score: float | None = None
    not_located: bool = False
    volume_ml: Mapping[str, float] = field(default_factory=dict)
    dice: Mapping[tuple[str, str], float] = field(default_factory=dict)
    round_trip_dice: float | None = None
    centre: Voxel | None = None
    low: Voxel | None = None
    high: Voxel | None = None
    predicted_dice: float | None = None
    predicted_interval: tuple[float, float] | None = None
    reasons: tuple[str, ...] = ()

    @property
    def kept_share(self) -> float | None:
        """Kept points / all points."""
        return self.kept / self.points if self.points and self.kept is not None else None

    @property
    def agreement(self) -> float | None:
        """Dice of transferred and final label; None where there is no transferred one, or the class is not in it."""
        return self.dice.get(("pseudo", "prediction")) if self.volume_ml.get("pseudo", 1.0) else None

    @property
    def final_volume_ml(self) -> float | None:
        """Volume of the prediction, or of the pseudo label where there is none."""
        return self.volume_ml.get("prediction", self.volume_ml.get("pseudo"))


@dataclass(frozen=True)
class CaseResult:
    """One case: its classes in the cohort's order, background points last.

    Attributes:
        notes: what could not be read.
        warnings: what is odd about its volume, or implausible about its label map.
    """

    id: str
    classes: Mapping[str, ClassResult]
    maps: tuple[str, ...] = ()
    propagated: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_remarked(self) -> bool:
        """Whether anything is told about the whole case."""
        return bool(self.notes or self.warnings)


def summarise_case(run: Run, case: str) -> CaseResult:
    """Count points, volumes and Dice of one case. Label maps are read once and dropped."""
    record, record_notes = tolerant(PropagationRecord.read, run.folder.propagation.record(case))
    check, check_notes = tolerant(CheckRecord.read, run.checks_dir / f"{case}.json")
    earlier, _ = tolerant(CheckRecord.read, run.folder.self_check_pseudo_labels / f"{case}.json")
    maps, map_notes = open_maps(run.label_maps(case), run.classes)
    boxes = {name: ndimage.find_objects(np.asarray(volume.array)) for name, volume in maps.items()}
    names = dict(run.classes)
    if record is not None and (record.points.labels == 0).any():
        names[BACKGROUND] = 0
    classes = {}
    for name, label in names.items():
        result = _with_points(ClassResult(name, label), record)
        if name != BACKGROUND:
            result = _with_measures(result, maps, boxes)
        classes[name] = _with_check(result, check, earlier)
    notes = (*record_notes, *map_notes, *check_notes)
    return CaseResult(case, classes, tuple(maps), record is not None, notes, _warnings(run, case))


def _warnings(run: Run, case: str) -> tuple[str, ...]:
    """Of the cohort, and of the records that the segmentation network left with the final label maps."""
    of_volume = () if run.cohort is None else run.cohort.warnings.get(case, ())
    folder = run.folder
    of_network = () if run.choices.mode == "paper" else (folder.network,)  # there it makes the final ones itself
    records = [labels.record(case) for labels in (*of_network, folder.predictions) if run.has_predictions]
    return (*of_volume, *(sentence for record in records for sentence in warnings_of(record)))


def open_maps(paths: Mapping[str, Path], classes: Mapping[str, int]) -> tuple[dict[str, RasVolume], tuple[str, ...]]:
    """Open label maps; those that cannot be read or lie on another grid than the first become sentences."""
    maps: dict[str, RasVolume] = {}
    notes = []
    for name, path in paths.items():
        try:
            volume = open_labels(path, classes)
        except BundleError as error:
            notes.append(f"The {MAP_WORDS[name]}, {path.name}, cannot be read: {error.problem}.")
            continue
        first = next(iter(maps.values()), volume)
        same_shape = volume.array.shape == first.array.shape
        if not same_shape or not np.allclose(volume.affine, first.affine, atol=GRID_TOLERANCE_MM):
            notes.append(f"The {MAP_WORDS[name]} lies on another grid than the others and is left out.")
            continue
        maps[name] = volume
    return maps, tuple(notes)


def _with_points(result: ClassResult, record: PropagationRecord | None) -> ClassResult:
    """The same with what became of the class's points."""
    if record is None:
        return result
    points = record.points.chosen(record.points.labels == result.label)
    dropped, kept = points.reasons[~points.kept].tolist(), points.scores[points.kept]
    return replace(
        result,
        points=len(points),
        kept=len(kept),
        dropped={reason: dropped.count(reason) for reason in dict.fromkeys(dropped)},
        score=float(np.mean(kept)) if len(kept) else None,
        not_located=result.name in record.not_located,
        round_trip_dice=record.round_trip_dice.get(result.name),
    )


def _with_check(result: ClassResult, check: CheckRecord | None, earlier: CheckRecord | None) -> ClassResult:
    """The same with what the self-check says; reasons that hold for the whole case count for each of its classes.

    Without it those of the pseudo labels' self-check count: they are about the case's body.
    """
    if check is None and earlier is not None and result.name in earlier.classes:
        return replace(result, reasons=earlier.reasons)
    if check is None or result.name not in check.classes:
        return result
    of_class = check.classes[result.name]
    return replace(
        result,
        predicted_dice=of_class.predicted_dice,
        predicted_interval=of_class.interval,
        reasons=(*check.reasons, *of_class.reasons) if of_class.flagged else (),
    )


def _with_measures(result: ClassResult, maps: Mapping[str, RasVolume], boxes: Mapping[str, Boxes]) -> ClassResult:
    """The same with volumes, Dice of every pair of maps, centre and bounding box, inside which all is measured."""
    label = result.label
    of_class = [of_map[label - 1] for of_map in boxes.values() if label <= len(of_map)]
    present = [box for box in of_class if box is not None]
    if not present:
        return replace(result, volume_ml=dict.fromkeys(maps, 0.0))
    low = np.min([[side.start for side in box] for box in present], axis=0)
    high = np.max([[side.stop for side in box] for box in present], axis=0)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    masks = {name: np.asarray(volume.array[box]) == label for name, volume in maps.items()}
    first, last = np.percentile(np.argwhere(np.any(list(masks.values()), axis=0)), VIEW_PERCENTILES, axis=0)
    of_voxel_ml = voxel_ml(next(iter(maps.values())).affine)
    shown = next(masks[name] for name in ("prediction", "pseudo", "truth") if name in masks and masks[name].any())
    pairs = [(a, b) for a, b in combinations(MAPS, 2) if a in masks and b in masks]
    return replace(
        result,
        volume_ml={name: int(np.count_nonzero(mask)) * of_voxel_ml for name, mask in masks.items()},
        dice={(a, b): dice_of(masks[a], masks[b]) for a, b in pairs if masks[a].any() or masks[b].any()},
        centre=_voxel(low + _central_voxel(shown)),
        low=_voxel(low + np.floor(first)),
        high=_voxel(low + np.ceil(last)),
    )


def _central_voxel(mask: np.ndarray) -> np.ndarray:
    """The mask's voxel nearest to its centroid (the centroid itself may lie outside a curved organ)."""
    voxels = np.argwhere(mask)
    return voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]


def _voxel(position: np.ndarray) -> Voxel:
    x, y, z = (int(index) for index in position)
    return x, y, z
