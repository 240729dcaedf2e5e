"""The support's classes by kind: what is no blob grows again by its own rule, by growers that may disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from scripts.common.boxes import Box, box_of, longest_side_mm
from scripts.common.overlap import dice_of
from scripts.common.sharing.threads import in_threads
from scripts.pseudo_labels.kinds.bone import by_threshold
from scripts.pseudo_labels.kinds.hollow import lumen_of, wall_strokes_mm, wall_thicknesses_mm, with_walls
from scripts.pseudo_labels.kinds.painted_slices import are_painted, between_slices, left_out_mm
from scripts.pseudo_labels.kinds.radial_profile import RadialProfile, alike_range, radial_profile
from scripts.pseudo_labels.kinds.slice_interpolation import found_again_share, half_gap_slices, interpolated_distance_mm
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings, StrokeShape, is_thin, kind_of, stroke_shape
from scripts.pseudo_labels.kinds.tube import by_geodesic_distance, by_intensity
from scripts.pseudo_labels.parts import distance_mm, parts_with

BONE_PERCENTILE = 10.0  # of the intensities under the strokes: another threshold for bone, to compare with
LEAST_GROWERS = 2  # of a tube's three growers


@dataclass(frozen=True)
class GrownByKind:
    """A label map in which each class grew by its kind.

    Attributes:
        label: (X, Y, Z) uint8 channels.
        kinds: channel -> kind, of every class with strokes.
        agreement: channel -> mean Dice between the growers of its kind; of a blob as thin as a tube, those of a tube.
            A hollow organ of which only the air was drawn, and any other blob, has none.
    """

    label: np.ndarray
    kinds: dict[int, Kind]
    agreement: dict[int, float]


@dataclass(frozen=True)
class _Stroked:
    """One class in a box around its strokes, which are drawn in planes across the third axis.

    Attributes:
        box: within the volume.
        image: (x, y, z) in [0, 1].
        strokes, others: (x, y, z) bool, its strokes and all others.
        blob: (x, y, z) bool, as it grew as a blob.
        alike: (x, y, z) bool, what looks like its strokes.
        profile: how far it reaches.
        shape: what its strokes say.
    """

    box: Box
    image: np.ndarray
    strokes: np.ndarray
    others: np.ndarray
    blob: np.ndarray
    alike: np.ndarray
    profile: RadialProfile
    shape: StrokeShape


@dataclass(frozen=True)
class _Grown:
    """One class by its kind.

    Attributes:
        kind: what it grew as.
        box: within the volume.
        agreement: mean Dice between its growers, if they were asked.
        mask: (x, y, z) bool in the box; None leaves the blob.
        away: (x, y, z) distance from its strokes in reaches, where there is a mask.
    """

    kind: Kind
    box: Box
    agreement: float | None = None
    mask: np.ndarray | None = None
    away: np.ndarray = field(default_factory=lambda: np.empty(0))


def grown_by_kind(
    image: np.ndarray,
    strokes: np.ndarray,
    blobs: np.ndarray,
    class_count: int,
    spacing_mm: Sequence[float],
    settings: KindSettings,
) -> GrownByKind:
    """Tubes, bones and hollow organs with a wall as their growers find them, all else as it is.

    What such a class leaves of its blob is background. What it takes from a blob of another class is its own: its
    strokes are near, and it ends soon. A voxel that two of the new masks claim goes to the class whose strokes are
    nearer, in reaches of each. Where strokes cover their organs (`are_painted`), all classes are what is between their
    painted slices, whatever their kind.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) uint8, channels 1 to K of classes, K + 1 of background, 0 where nothing is drawn.
        blobs: (X, Y, Z) uint8 channels, all classes grown as blobs.
        class_count: K.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `KindSettings`.
    """
    axis = drawing_axis(strokes)
    across_mm = [step for other, step in enumerate(spacing_mm) if other != axis] + [spacing_mm[axis]]
    volume, drawn, label = (np.moveaxis(array, axis, 2) for array in (image, strokes, blobs))
    noise = _usual_spread(volume, drawn, class_count)
    channels = [channel for channel in range(1, class_count + 1) if (drawn == channel).any()]

    def left_out(channel: int) -> float | None:
        box = _box_around(drawn == channel, across_mm, settings)
        own = drawn[box] == channel
        return left_out_mm(volume[box], own, (drawn[box] > 0) & ~own, across_mm, settings)

    left_mm = {} if settings.painted is False else dict(zip(channels, in_threads(left_out, channels), strict=True))
    painted = settings.painted
    if painted is None:
        painted = are_painted([*left_mm.values()], settings.painted_classes_share)

    def grow(channel: int) -> _Grown:
        stroked = _stroked(volume, drawn, label, channel, noise, across_mm, settings)
        if not painted or stroked.shape.stroked_slices < 2:
            return _grown(stroked, across_mm, settings)
        left = left_mm[channel]
        return _painted(stroked, 0.0 if left is None or np.isinf(left) else left, across_mm, settings)

    kinds: dict[int, Kind] = {}
    agreement: dict[int, float] = {}
    result, nearest = label.copy(), np.full(label.shape, np.inf, dtype=np.float32)
    for channel, grown in zip(channels, in_threads(grow, channels), strict=True):
        kinds[channel] = grown.kind
        if grown.agreement is not None:
            agreement[channel] = grown.agreement
        if grown.mask is None:
            continue
        result[(label == channel) & np.isinf(nearest)] = 0
        won = grown.mask & (grown.away <= nearest[grown.box])
        result[grown.box][won], nearest[grown.box][won] = channel, grown.away[won]
    return GrownByKind(np.ascontiguousarray(np.moveaxis(result, 2, axis)), kinds, agreement)


def _grown(stroked: _Stroked, spacing_mm: Sequence[float], settings: KindSettings) -> _Grown:
    kind = _checked_kind(stroked, spacing_mm, settings)
    if kind is Kind.BLOB and not is_thin(stroked.shape, settings):
        return _Grown(kind, stroked.box)
    away_mm = interpolated_distance_mm(stroked.strokes, spacing_mm)
    if not (masks := _masks(kind, stroked, away_mm, spacing_mm, settings)):
        return _Grown(kind, stroked.box)
    agreement = _mean_dice(masks)
    if kind is Kind.BLOB:
        return _Grown(kind, stroked.box, agreement)
    if kind is Kind.HOLLOW:  # what can be told of its wall was drawn
        kind = Kind.WALLED
    chosen = masks[0]
    if kind is Kind.TUBE:
        chosen = (np.sum(masks, axis=0) >= LEAST_GROWERS) | stroked.strokes
    away = np.where(stroked.strokes, 0, away_mm / stroked.profile.reach_mm)
    return _Grown(kind, stroked.box, agreement, parts_with(chosen, stroked.strokes), away)


def _painted(stroked: _Stroked, left_mm: float, spacing_mm: Sequence[float], settings: KindSettings) -> _Grown:
    """A class that was painted whole on some slices: where these leave its border free, its growers find it.

    They are geodesic distance and the interpolated shape, of which the first counts; for a tube a third one by distance
    and intensity, of which two must agree; and a bone's own ones, as its shape changes too much from slice to slice. A
    hollow organ has its wall, which was painted, too.
    """
    known = between_slices(stroked.strokes, stroked.others, spacing_mm, left_mm)
    kind = kind_of(stroked.shape, settings)
    if kind is Kind.BONE:
        bones = _bone_masks(stroked, np.ones_like(stroked.strokes), spacing_mm, settings)
        masks = [stroked.strokes | (bone & ~known.outside) for bone in bones]
        chosen = masks[0]
    else:
        masks = [by_geodesic_distance(stroked.image, known.certain, known.outside, spacing_mm), known.interpolated]
        chosen = masks[0]
        if kind is Kind.TUBE:
            likely = _likely_tube(stroked, interpolated_distance_mm(stroked.strokes, spacing_mm), spacing_mm, settings)
            masks.append(stroked.strokes | (likely & ~known.outside))
            chosen = np.sum(masks, axis=0) >= LEAST_GROWERS
        kind = Kind.WALLED if kind is Kind.HOLLOW else Kind.PAINTED
    return _Grown(kind, stroked.box, _mean_dice(masks), parts_with(chosen, stroked.strokes), known.away)


def _masks(
    kind: Kind, stroked: _Stroked, away_mm: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings
) -> list[np.ndarray]:
    """(x, y, z) bool each, by the growers of a kind, a thin blob's those of tubes; none where no wall was drawn on."""
    if kind is Kind.BONE:
        return _bone_masks(stroked, np.isfinite(away_mm), spacing_mm, settings)
    if kind is Kind.HOLLOW:
        return _hollow_masks(stroked, np.isfinite(away_mm), spacing_mm, settings)
    return _tube_masks(stroked, away_mm, spacing_mm, settings)


def drawing_axis(strokes: np.ndarray) -> int:
    """The axis across the planes that strokes, (X, Y, Z), are drawn in: most of them are one voxel thick along it."""
    parts, _ = ndimage.label(strokes > 0, structure=np.ones((3, 3, 3)))
    boxes = ndimage.find_objects(parts)
    flat = [sum(box[axis].stop - box[axis].start == 1 for box in boxes) for axis in range(3)]
    return max((2, 1, 0), key=lambda axis: flat[axis])


def _usual_spread(image: np.ndarray, strokes: np.ndarray, class_count: int) -> float:
    """Median over the classes of the standard deviation under their strokes."""
    under = (image[strokes == channel] for channel in range(1, class_count + 1))
    spreads = [float(values.std()) for values in under if values.size]
    return float(np.median(spreads)) if spreads else 0.0


def _stroked(
    image: np.ndarray,
    strokes: np.ndarray,
    blobs: np.ndarray,
    channel: int,
    noise: float,
    spacing_mm: Sequence[float],
    settings: KindSettings,
) -> _Stroked:
    box = _box_around(strokes == channel, spacing_mm, settings)
    volume, drawn = image[box], strokes[box]
    own, others = drawn == channel, (drawn > 0) & (drawn != channel)
    low, high = alike_range(volume[own], noise)
    alike = ((volume >= low) & (volume <= high) & ~others) | own
    profile = radial_profile(alike, own, spacing_mm, settings.profile_limit_mm)
    shape = stroke_shape(volume, own, profile, spacing_mm, settings.profile_limit_mm)
    return _Stroked(box, volume, own, others, blobs[box] == channel, alike, profile, shape)


def _checked_kind(stroked: _Stroked, spacing_mm: Sequence[float], settings: KindSettings) -> Kind:
    """What branches or bends so much that strokes left out are not found again is no tube."""
    kind = kind_of(stroked.shape, settings)
    if kind is not Kind.TUBE:
        return kind
    found = found_again_share(stroked.strokes, settings.shell_share * stroked.profile.reach_mm, spacing_mm)
    return Kind.TUBE if found > settings.tube_found_share else Kind.BLOB


def _box_around(strokes: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings) -> Box:
    """All that is looked at, in the plane, and all that can be of the class, across planes."""
    drawn = np.flatnonzero(strokes.any(axis=(0, 1)))
    in_plane = np.ceil(1.5 * settings.profile_limit_mm / np.array(spacing_mm[:2])).astype(int)
    box = box_of(strokes, margins=[*in_plane.tolist(), half_gap_slices(drawn) + 1])
    if box is None:
        raise ValueError("a class without strokes has no kind")
    return box


def _tube_masks(
    stroked: _Stroked, away_mm: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings
) -> list[np.ndarray]:
    """(x, y, z) bool each: by intensity, by geodesic distance, and the blob, which ends where the second must."""
    reach_mm, strokes, others = stroked.profile.reach_mm, stroked.strokes, stroked.others
    free = ~others & (away_mm < distance_mm(others, spacing_mm))
    likely = parts_with((_likely_tube(stroked, away_mm, spacing_mm, settings) & free) | strokes, strokes)
    certain = strokes | (stroked.alike & free & (away_mm <= settings.core_share * reach_mm))
    within = away_mm <= settings.shell_share * reach_mm
    near = by_geodesic_distance(stroked.image, certain, others | ~within, spacing_mm)
    return [likely, near, stroked.blob & within]


def _likely_tube(
    stroked: _Stroked, away_mm: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings
) -> np.ndarray:
    """(x, y, z) bool: by distance and intensity, wherever that is."""
    reach_mm, limit_mm = stroked.profile.reach_mm, settings.profile_limit_mm
    probability = by_intensity(stroked.image, stroked.strokes, away_mm, reach_mm, spacing_mm, limit_mm)
    return probability > settings.tube_probability


def _bone_masks(
    stroked: _Stroked, possible: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings
) -> list[np.ndarray]:
    """(x, y, z) bool each: from where the border is blurred by half, and from what the darkest strokes are."""
    box = box_of(stroked.strokes) or stroked.box
    reach_mm = settings.bone_reach_share * longest_side_mm(box, spacing_mm)
    darkest = float(np.percentile(stroked.image[stroked.strokes], BONE_PERCENTILE))
    return [
        by_threshold(stroked.image, stroked.strokes, stroked.others, possible, threshold, reach_mm, spacing_mm)
        for threshold in (stroked.shape.border, darkest)
    ]


def _hollow_masks(
    stroked: _Stroked, possible: np.ndarray, spacing_mm: Sequence[float], settings: KindSettings
) -> list[np.ndarray]:
    """(x, y, z) bool each: with the wall that the strokes let expect, then with its least and a likely most; none if
    no stroke lies on a wall.
    """
    strokes, others = stroked.strokes, stroked.others
    lumen = lumen_of(stroked.image, strokes, others, possible, settings.lumen_brightness)
    on_wall_mm, stroke_count = wall_strokes_mm(lumen, strokes, spacing_mm)
    thickness_mm = wall_thicknesses_mm(on_wall_mm, stroke_count) if stroke_count else (np.inf,)
    if thickness_mm[0] > settings.thickest_wall_mm:
        return []
    return with_walls(lumen, strokes, others, possible, thickness_mm, spacing_mm)


def _mean_dice(masks: list[np.ndarray]) -> float:
    pairs = [(one, other) for index, one in enumerate(masks) for other in masks[:index]]
    return float(np.mean([dice_of(one, other) for one, other in pairs]))
