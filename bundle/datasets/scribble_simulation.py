"""Hand-like scribbles drawn from a label map: for phantoms, tests and experiments where nobody drew any."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage
from skimage.graph import MCP_Geometric

from scripts.common.boxes import box_of
from scripts.common.errors import BundleError

CORONAL, AXIAL = 1, 2
EDGE_MARGIN_MM = 3.0  # a hand keeps this far from an organ's border, where there is room
BACKGROUND_LENGTH_MM = (30.0, 90.0)
NEAR_ORGAN_MM = 20.0
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)

Stroke = tuple[np.ndarray, ...]  # indices along each axis, one voxel an entry


def simulate_scribbles(
    label: np.ndarray,
    affine: np.ndarray,
    classes: Mapping[str, int],
    background_value: int,
    seed: int,
    *,
    body: np.ndarray | None = None,
    axial_slices: int = 4,
    coronal_slices: int = 1,
    background_slices: int = 8,
    background_strokes: int = 4,
) -> np.ndarray:
    """Draw curved strokes, one voxel wide, inside every class and in the background; the same seed draws the same.

    A class gets one or two strokes in each of a few slices spread over its extent, along its interior. Background
    strokes stay outside everything labelled, half of them close to an organ; each is connected within its slice.

    Args:
        label: (X, Y, Z) integer label map, 0 where nothing is labelled; any orientation.
        affine: (4, 4) RAS+ affine of `label`; slices are chosen in patient axes, distances measured in mm.
        classes: name -> value in `label`, the value the strokes get.
        background_value: value of the background strokes.
        seed: seed of all random choices.
        body: (X, Y, Z) where background may be drawn; the box around everything labelled if left out.
        axial_slices: axial slices per class.
        coronal_slices: coronal slices per class.
        background_slices: axial slices with background strokes.
        background_strokes: background strokes in each of those.

    Returns:
        (X, Y, Z) uint8 map: 0 unmarked, a class's value, or `background_value`.

    Raises:
        BundleError: a class has no voxel, no voxel is left for the background, or its value is also a class's.
    """
    _check(label, classes, background_value)
    to_ras = io_orientation(affine)
    ras = np.ascontiguousarray(apply_orientation(label, to_ras))
    ras_spacing_mm = nib.affines.voxel_sizes(affine @ inv_ornt_aff(to_ras, label.shape))
    allowed = _labelled_box(ras) if body is None else apply_orientation(np.asarray(body, dtype=bool), to_ras)

    rng = np.random.default_rng(seed)
    scribbles = np.zeros(ras.shape, dtype=np.uint8)
    for value in classes.values():
        for axis, count in ((AXIAL, axial_slices), (CORONAL, coronal_slices)):
            for stroke in _class_strokes(ras == value, axis, count, ras_spacing_mm, rng):
                scribbles[stroke] = value
    free = allowed & (ras == 0)
    for stroke in _background_strokes(
        free, ras != 0, scribbles > 0, background_slices, background_strokes, ras_spacing_mm, rng
    ):
        scribbles[stroke] = background_value
    if not (scribbles == background_value).any():
        raise BundleError("no voxel is left for background strokes", stage="scribble simulation")
    from_ras = nib.orientations.ornt_transform(io_orientation(np.eye(4)), to_ras)
    return np.ascontiguousarray(apply_orientation(scribbles, from_ras))


def _check(label: np.ndarray, classes: Mapping[str, int], background_value: int) -> None:
    if background_value in classes.values() or background_value == 0:
        raise BundleError(
            "the background scribble needs a value of its own",
            stage="scribble simulation",
            expected=f"neither 0 nor one of {sorted(classes.values())}",
            found=background_value,
        )
    for name, value in classes.items():
        if not (label == value).any():
            raise BundleError(
                f"the class '{name}' is absent from the label map",
                stage="scribble simulation",
                expected=f"voxels with the value {value}",
                found=f"values {np.unique(label).tolist()}",
            )


def _labelled_box(label: np.ndarray) -> np.ndarray:
    box = np.zeros(label.shape, dtype=bool)
    box[box_of(label != 0, (0, 0, 0))] = True
    return box


def _class_strokes(
    organ: np.ndarray, axis: int, count: int, spacing_mm: np.ndarray, rng: np.random.Generator
) -> list[Stroke]:
    """One or two strokes in each of `count` slices across `axis`."""
    strokes: list[Stroke] = []
    for index in _spread_slices(organ, axis, count, rng):
        section = np.take(organ, index, axis)
        for _ in range(rng.integers(1, 3)):
            stroke = _organ_stroke(section, np.delete(spacing_mm, axis), rng)
            strokes.append(_in_volume(stroke, axis, index))
    return strokes


def _background_strokes(
    free: np.ndarray,
    labelled: np.ndarray,
    drawn: np.ndarray,
    slices: int,
    count: int,
    spacing_mm: np.ndarray,
    rng: np.random.Generator,
) -> list[Stroke]:
    """Strokes in axial slices, every second one close to an organ where there is room.

    Args:
        free: (X, Y, Z) where background may be drawn.
        labelled: (X, Y, Z) all organs.
        drawn: (X, Y, Z) the strokes in organs.
        slices: with strokes.
        count: strokes in each of those.
        spacing_mm: (3,).
        rng: draws them.
    """
    strokes: list[Stroke] = []
    for index in _spread_slices(free, AXIAL, slices, rng):
        section = free[:, :, index], labelled[:, :, index], drawn[:, :, index]
        for stroke in _background_of_slice(*section, count, spacing_mm[:AXIAL], rng):
            strokes.append(_in_volume(stroke, AXIAL, index))
    return strokes


def _background_of_slice(
    free: np.ndarray,
    organs: np.ndarray,
    drawn: np.ndarray,
    count: int,
    spacing_mm: np.ndarray,
    rng: np.random.Generator,
) -> list[Stroke]:
    """The same of one slice; all masks (X, Y)."""
    organ_mm = ndimage.distance_transform_edt(~organs, spacing_mm) if organs.any() else np.full(organs.shape, np.inf)
    roomy = free & (organ_mm > EDGE_MARGIN_MM)
    if roomy.any():
        free = roomy
    background = np.zeros_like(drawn)
    strokes: list[Stroke] = []
    for number in range(count):
        starts = free & ~drawn & ~background
        near = starts & (organ_mm < NEAR_ORGAN_MM)
        if number % 2 == 0 and near.any():
            starts = near
        if starts.any():
            strokes.append(_background_stroke(free, starts, background, spacing_mm, rng))
            background[strokes[-1]] = True
    return strokes


def _in_volume(stroke: Stroke, axis: int, index: int) -> Stroke:
    """A slice's stroke as voxels of the volume."""
    rows, columns = stroke
    planes = [rows, columns]
    planes.insert(axis, np.full_like(rows, index))
    return tuple(planes)


def _spread_slices(mask: np.ndarray, axis: int, count: int, rng: np.random.Generator) -> list[int]:
    """Slice indices at jittered, evenly spaced quantiles of the mask's volume along `axis`."""
    area = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    if not area.any():
        return []
    quantiles = (np.arange(count) + rng.uniform(0.15, 0.85, count)) / count
    return sorted({int(index) for index in np.searchsorted(area.cumsum(), quantiles * area.sum(), side="right")})


def _organ_stroke(section: np.ndarray, spacing_mm: np.ndarray, rng: np.random.Generator) -> Stroke:
    """A wandering path between two far ends of one interior component of `section` (2-D), or most of such a path."""
    depth_mm = ndimage.distance_transform_edt(np.pad(section, 1), spacing_mm)[1:-1, 1:-1]
    interior = depth_mm > min(EDGE_MARGIN_MM, 0.5 * depth_mm.max())
    components, _ = ndimage.label(interior, EIGHT_NEIGHBOURS)
    first = _pick(interior, rng)
    component = components == components[first]
    cost = np.where(component, _wander(section.shape, spacing_mm, rng) / depth_mm.clip(1e-3), -1.0)
    one_end = _farthest(component, first, spacing_mm)
    path = _path(cost, one_end, _farthest(component, one_end, spacing_mm), spacing_mm)
    kept = max(1, round(len(path) * rng.uniform(0.6, 0.95)))
    start = rng.integers(0, len(path) - kept + 1)
    return tuple(path[start : start + kept].T)


def _background_stroke(
    free: np.ndarray, starts: np.ndarray, drawn: np.ndarray, spacing_mm: np.ndarray, rng: np.random.Generator
) -> Stroke:
    """A wandering path of some centimetres through `free` (2-D), begun away from what is `drawn` already."""
    candidates = [_pick(starts, rng) for _ in range(3)]
    if drawn.any():
        drawn_mm = ndimage.distance_transform_edt(~drawn, spacing_mm)
        candidates.sort(key=lambda voxel: -drawn_mm[voxel])
    start = candidates[0]
    components, _ = ndimage.label(free, EIGHT_NEIGHBOURS)
    component = components == components[start]
    away_mm = _distance_mm(free.shape, start, spacing_mm)
    length_mm = rng.uniform(*BACKGROUND_LENGTH_MM)
    ends = component & (away_mm > 0.8 * length_mm) & (away_mm <= length_mm)
    end = _pick(ends, rng) if ends.any() else _farthest(component & (away_mm <= length_mm), start, spacing_mm)
    cost = np.where(component, _wander(free.shape, spacing_mm, rng), -1.0)
    return tuple(_path(cost, start, end, spacing_mm).T)


def _wander(shape: tuple[int, ...], spacing_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth positive random cost (2-D) that bends a shortest path the way a hand does."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 6.0 / spacing_mm)
    return np.exp(1.2 * ((noise - noise.mean()) / max(noise.std(), 1e-12)).clip(-3.0, 3.0))


def _path(cost: np.ndarray, start: tuple[int, int], end: tuple[int, int], spacing_mm: np.ndarray) -> np.ndarray:
    """(N, 2) voxels of the cheapest 8-connected path; voxels of negative cost are never entered."""
    search = MCP_Geometric(cost, sampling=tuple(spacing_mm))
    search.find_costs([start], [end])
    return np.asarray(search.traceback(end))


def _pick(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    flat = np.flatnonzero(mask)
    row, column = np.unravel_index(flat[rng.integers(len(flat))], mask.shape)
    return int(row), int(column)


def _farthest(mask: np.ndarray, start: tuple[int, int], spacing_mm: np.ndarray) -> tuple[int, int]:
    away_mm = np.where(mask, _distance_mm(mask.shape, start, spacing_mm), -1.0)
    row, column = np.unravel_index(int(away_mm.argmax()), mask.shape)
    return int(row), int(column)


def _distance_mm(shape: tuple[int, ...], start: tuple[int, int], spacing_mm: np.ndarray) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot((rows - start[0]) * spacing_mm[0], (columns - start[1]) * spacing_mm[1])
