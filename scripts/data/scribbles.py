"""Scribbles as points: reading them, judging them, thinning them evenly, drawing them into a volume."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from scripts.common.affines import nearest_voxels, spacing_of, to_voxels, to_world
from scripts.common.errors import BundleError
from scripts.common.files import keep_json
from scripts.common.names import how_many
from scripts.common.work_folder import WorkFolder
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.data.reading.alignment import on_grid_of
from scripts.data.volume_io import Volume, read_labels, read_strokes

logger = logging.getLogger(__name__)

BACKGROUND = "background"
STAGE = "scribbles"

# Strokes beyond these limits seldom grow into an organ. Hand-like strokes in thin organs have 7 voxels on 3 slices and
# background within 61 mm; at most a fifth of them lies in air (of an oesophagus), and hardly any touches another class.
LEAST_VOXELS = 5
LEAST_SLICES = 3
LEAST_IN_BODY = 0.5
FARTHEST_BACKGROUND_MM = 100.0
MOST_TOUCHING = 0.2
NEIGHBOUR = 1.8  # voxels; those that share a corner are 1.73 apart


@dataclass(frozen=True)
class ScribblePoints:
    """N scribble points of the support.

    Attributes:
        labels: (N,) class values, 0 for background.
        voxels: (N, 3) voxel indices on the support's own grid.
        world_mm: (N, 3) world positions in mm.
    """

    labels: np.ndarray
    voxels: np.ndarray
    world_mm: np.ndarray


def check_scribbles(cohort: Cohort, scribbles: Path) -> list[str]:
    """Judge strokes (see `judge_strokes`) before anything is made of them; what is said is logged.

    Args:
        cohort: whose support they are drawn on.
        scribbles: as the user gave them, in any readable format.

    Raises:
        BundleError: the strokes cannot work.
    """
    if cohort.support is None:
        return []
    cached = read_cached(cohort, cohort.support)
    body = Volume(cached.body.numpy(), cached.affine)
    try:
        sentences = judge_strokes(given_strokes(cohort, cohort.support, scribbles), body, cohort.classes)
    except BundleError as error:
        error.within(STAGE, cohort.support, scribbles)
        raise
    for sentence in sentences:
        logger.warning("strokes: %s", sentence)
    return sentences


def given_strokes(cohort: Cohort, support: str, scribbles: Path) -> Volume:
    """Strokes as the user gave them, in any readable format, on the support's own grid."""
    case = cohort.cases[support]
    drawn = read_strokes(scribbles, case.grid, cohort.classes, cohort.background)
    return on_grid_of(drawn, case, scribbles, "scribbles")


def keep_remarks(cohort: Cohort, sentences: list[str]) -> None:
    """Keep for the report what `check_scribbles` said."""
    keep_json(WorkFolder(cohort.output_dir).scribble_remarks, {"warnings": sentences})


def judge_strokes(strokes: Volume, body: Volume, classes: Mapping[str, int]) -> list[str]:
    """What is likely to go wrong with strokes, in sentences that say what to do; empty for good strokes.

    Args:
        strokes: (X, Y, Z) scribble map; other strokes than those of the classes are background.
        body: (X, Y, Z) body mask of the same volume, on any grid.
        classes: name -> scribble value.

    Raises:
        BundleError: there is no tissue, or none of it under the strokes of a class or of the background.
    """
    if not body.array.any():
        raise _unusable("the support has no tissue", "a CT in Hounsfield units, or an MR", "nothing denser than air")
    voxels = np.argwhere(strokes.array > 0)
    values = strokes.array[tuple(voxels.T)]
    labels = np.where(np.isin(values, list(classes.values())), values, 0)
    world_mm = to_world(voxels, strokes.affine)
    in_body = body.array[tuple(nearest_voxels(to_voxels(world_mm, body.affine), body.array.shape).T)] > 0
    for name, label in {**classes, BACKGROUND: 0}.items():
        if not in_body[labels == label].any():
            problem = f"the strokes of {name} lie outside the body"
            raise _unusable(problem, "strokes in tissue, drawn on this very volume", "all of them in air")
    background = cKDTree(world_mm[(labels == 0) & in_body])
    names = {0: BACKGROUND, **{label: name for name, label in classes.items()}}
    sentences = []
    for name, label in classes.items():
        own = labels == label
        sentences += _too_little(name, voxels[own], strokes.affine)
        if (share := np.mean(in_body[own])) < LEAST_IN_BODY:
            sentences.append(f"{name}: {1 - share:.0%} of its strokes lie in air outside the body; erase those.")
        if (distance_mm := background.query(world_mm[own])[0].min()) > FARTHEST_BACKGROUND_MM:
            sentences.append(
                f"{name}: the nearest background stroke is {distance_mm:.0f} mm away; draw some around the organ, they "
                "say where it ends."
            )
        sentences += _touching(name, voxels[own], voxels[~own], [names[int(other)] for other in labels[~own]])
    return sentences


def _too_little(name: str, voxels: np.ndarray, affine: np.ndarray) -> list[str]:
    """At most one sentence on the size of a class's strokes, (N, 3) voxels."""
    along_body = np.unique(voxels[:, np.abs(affine[2, :3] / spacing_of(affine)).argmax()])
    # Drawn in one sagittal or coronal slice they lie in axial ones side by side, but for gaps between strokes; a
    # straight line lies in no plane of its own.
    is_flat = [len(np.unique(voxels[:, axis])) for axis in range(3)].count(1) == 1
    runs = 1 + np.count_nonzero(np.diff(along_body) > 1)
    count = 1 if is_flat and len(along_body) >= 2 * runs else len(along_body)
    remedy = f"draw on at least {LEAST_SLICES} slices, the organ's first and last one are worth most."
    if len(voxels) < LEAST_VOXELS:
        return [f"{name}: strokes of {how_many(len(voxels), 'voxel')} are too little to grow from; {remedy}"]
    if count < LEAST_SLICES:
        return [f"{name}: its strokes lie on {how_many(count, 'slice')} only; {remedy}"]
    return []


def _touching(name: str, voxels: np.ndarray, others: np.ndarray, names: Sequence[str]) -> list[str]:
    """At most one sentence on strokes of other classes, (M, 3) voxels and their M names, that touch (N, 3) voxels."""
    distance, nearest = cKDTree(others).query(voxels)
    touching = [names[other] for other in nearest[distance < NEIGHBOUR]]
    if len(touching) <= MOST_TOUCHING * len(voxels):
        return []
    most = max(sorted(set(touching)), key=touching.count)
    share = len(touching) / len(voxels)
    remedy = "leave a gap at the organ's border, unless organs are painted whole."
    return [f"{name}: {share:.0%} of its strokes touch others, such as {most}; {remedy}"]


def _unusable(problem: str, expected: str, found: str) -> BundleError:
    return BundleError(problem, stage=STAGE, expected=expected, found=found)


def read_scribble_points(
    path: str | Path, classes: Mapping[str, int], class_limit: int | None = None, background_limit: int | None = None
) -> ScribblePoints:
    """Points of the named classes; every other stroke counts as background.

    Args:
        path: scribble map on the support's grid.
        classes: name -> scribble value.
        class_limit: at most this many points per class, evenly thinned along its strokes; None takes all.
        background_limit: the same for background.
    """
    scribbles = read_labels(path)
    voxels = np.argwhere(scribbles.array > 0)
    values = scribbles.array[tuple(voxels.T)].astype(int)
    labels = np.where(np.isin(values, list(classes.values())), values, 0)
    world_mm = to_world(voxels, scribbles.affine)
    chosen = []
    for value in [*classes.values(), 0]:
        members = np.flatnonzero(labels == value)
        limit = background_limit if value == 0 else class_limit
        chosen.append(members[thin(world_mm[members], limit)])
    order = np.concatenate(chosen)
    return ScribblePoints(labels[order], voxels[order], world_mm[order])


def thin(points_mm: np.ndarray, limit: int | None) -> np.ndarray:
    """Indices of at most `limit` points spread evenly (farthest-point sampling from the first point), ascending."""
    count = len(points_mm)
    if limit is None or count <= limit:
        return np.arange(count)
    distance_mm = np.full(count, np.inf)
    chosen = [0]
    while len(chosen) < limit:
        distance_mm = np.minimum(distance_mm, np.linalg.norm(points_mm - points_mm[chosen[-1]], axis=1))
        chosen.append(int(distance_mm.argmax()))
    return np.sort(chosen)


def draw_points(
    world_mm: np.ndarray, values: np.ndarray, order: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Label volume (X, Y, Z) uint8 with one voxel per point.

    Args:
        world_mm: (N, 3) positions.
        values: (N,) value to write.
        order: (N,) drawing priority; where points share a voxel, the highest stays.
        affine: of the volume.
        shape: of the volume.
    """
    volume = np.zeros(shape, dtype=np.uint8)
    ranked = np.argsort(order, kind="stable")
    voxels = nearest_voxels(to_voxels(world_mm[ranked], affine), shape)
    for voxel, value in zip(voxels, values[ranked], strict=True):  # in order, so that the last one wins
        volume[tuple(voxel)] = value
    return volume
