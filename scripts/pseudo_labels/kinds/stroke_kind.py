"""What a class's strokes are drawn in: a tube, a bone, a hollow organ's air, with its wall or alone, or else a blob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.kinds.radial_profile import RadialProfile
from scripts.pseudo_labels.kinds.slice_interpolation import half_gap_slices

LEAST_STROKED_SLICES = 3


class Kind(str, Enum):
    """Which rule grows a class."""

    BLOB = "blob"
    TUBE = "tube"
    BONE = "bone"
    HOLLOW = "hollow organ"
    WALLED = "hollow organ with its wall"
    PAINTED = "shape between painted slices"


@dataclass(frozen=True)
class KindSettings:
    """When a class is no blob, and how it grows then.

    Attributes:
        tube_elongation: a tube is at least this many times as long as wide.
        tube_width_mm: a tube is at most this wide, in mm: in what is wider there is room to grow, as a blob does.
        tube_widest_mm: a tube is drawn over at most this width in any slice, in mm.
        tube_found_share: if a slice's strokes are left out, more than this share of them lies within the tube that the
            others draw.
        most_alike_share: where more than this share of what surrounds a class looks like it, its width is unknown, and
            it was not painted whole.
        by_hounsfield: whether intensities are Hounsfield units, by which bones and hollow organs are told; those of MR
            are none, and bright fluid is no bone there.
        bone_brightness: a bone's strokes are at least this bright, of an image in [0, 1]: 330 HU, more than contrast
            medium gives most vessels.
        bone_contrast: a bone's strokes are this much brighter than what is around: 150 HU of soft tissue. A hollow
            organ's strokes are this much darker.
        profile_limit_mm: how far around the strokes the surroundings are looked at, in mm.
        tube_probability: a tube is where its probability by intensity is higher: the best Dice is had from half that
            Dice on, and 0.8 can be hoped for.
        core_share: a tube is certain up to this share of its reach, where it looks like its strokes.
        shell_share: a tube ends at this multiple of its reach: one and a half times its thickness.
        bone_reach_share: a bone ends at this share of its strokes' extent away from them.
        lumen_brightness: the air of a hollow organ is darker than this, of an image in [0, 1]: -400 HU, near the middle
            between air and tissue.
        thickest_wall_mm: strokes that let expect a thicker wall of a hollow organ, in mm, lie in what fills it beside
            air.
        hollow_confidence: highest confidence where all strokes lie in the air of a hollow organ, which grows as a blob
            then: a mask of the air alone has this Dice if there is as much wall.
        painted: whether classes were painted whole on their slices; None finds that out.
        painted_depth_voxels: what was drawn says so from this depth on, the median over its slices: a line of one or
            two voxels has 1.
        painted_reach_voxels: what was painted whole ends at most so far before its organ, in voxels: the diagonal of
            one.
        painted_reach_share: or at most this share of its depth.
        painted_classes_share: classes were painted whole if more of them say so than say otherwise, and more than this
            share of all.
    """

    tube_elongation: float = 3.0
    tube_width_mm: float = 30.0
    tube_widest_mm: float = 60.0
    tube_found_share: float = 0.5
    most_alike_share: float = 0.8
    by_hounsfield: bool = True
    bone_brightness: float = 0.82
    bone_contrast: float = 0.3
    profile_limit_mm: float = 25.0
    tube_probability: float = 0.4
    core_share: float = 0.5
    shell_share: float = 3.0
    bone_reach_share: float = 0.4
    lumen_brightness: float = 0.05
    thickest_wall_mm: float = 15.0
    hollow_confidence: float = 0.67
    painted: bool | None = None
    painted_depth_voxels: float = 2.0
    painted_reach_voxels: float = 1.4
    painted_reach_share: float = 0.25
    painted_classes_share: float = 0.33


@dataclass(frozen=True)
class StrokeShape:
    """What a class's strokes say about its organ.

    Attributes:
        length_mm: across its stroked slices, and half a gap beyond either end.
        width_mm: of a connected stroke in its slice, the median, with the organ's reach on both sides.
        widest_mm: the same of all that is drawn in the fullest slice: a stroke across the slices is a dot in each,
            whatever it is drawn in.
        brightness: the median under the strokes, of an image in [0, 1].
        contrast: how much brighter the strokes are than what is around them, of an image in [0, 1].
        border: the intensity half way between the two, where a blurred border lies.
        alike_share: of what surrounds the organ looks like it.
        stroked_slices: number of slices that they are drawn on.
    """

    length_mm: float
    width_mm: float
    widest_mm: float
    brightness: float
    contrast: float
    border: float
    alike_share: float
    stroked_slices: int


def stroke_shape(
    image: np.ndarray,
    strokes: np.ndarray,
    profile: RadialProfile,
    spacing_mm: Sequence[float],
    limit_mm: float,
) -> StrokeShape:
    """Measure a class's strokes.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) bool, drawn in planes across the third axis, at least one true.
        profile: of the class.
        spacing_mm: voxel size along X, Y, Z.
        limit_mm: outer radius of the ring around the strokes in their planes; the inner one is twice the reach, or half
            of this.
    """
    drawn = np.flatnonzero(strokes.any(axis=(0, 1)))
    widths = [width for z in drawn for width in _widths_mm(strokes[:, :, z], spacing_mm)]
    widest_mm = max(_width_mm(strokes[:, :, z], spacing_mm) for z in drawn)
    length_mm = float(drawn[-1] - drawn[0] + 2 * half_gap_slices(drawn)) * spacing_mm[2]
    away = [ndimage.distance_transform_edt(~strokes[:, :, z], sampling=spacing_mm[:2]) for z in drawn]
    inner_mm = min(2 * profile.reach_mm, limit_mm / 2)
    planes = zip(drawn, away, strict=True)
    ring = np.concatenate([image[:, :, z][(plane > inner_mm) & (plane <= limit_mm)] for z, plane in planes])
    brightness = float(np.median(image[strokes]))
    contrast = brightness - float(np.median(ring)) if ring.size else 0.0
    return StrokeShape(
        length_mm=length_mm,
        width_mm=float(np.median(widths)) + 2 * profile.reach_mm,
        widest_mm=widest_mm + 2 * profile.reach_mm,
        brightness=brightness,
        contrast=contrast,
        border=brightness - contrast / 2,
        alike_share=profile.outside_share,
        stroked_slices=len(drawn),
    )


def kind_of(shape: StrokeShape, settings: KindSettings) -> Kind:
    """Bone by contrast, tube by elongation, hollow organ by the reverse of a bone's contrast, else a blob."""
    stands_out = settings.by_hounsfield and abs(shape.contrast) >= settings.bone_contrast
    if stands_out and shape.contrast > 0 and shape.brightness >= settings.bone_brightness:
        return Kind.BONE
    if is_thin(shape, settings) and shape.length_mm >= settings.tube_elongation * shape.width_mm:
        return Kind.TUBE
    return Kind.HOLLOW if stands_out and shape.contrast < 0 else Kind.BLOB


def is_thin(shape: StrokeShape, settings: KindSettings) -> bool:
    """Whether the growers of tubes can say something about a class: its width is known and small."""
    known = shape.stroked_slices >= LEAST_STROKED_SLICES and shape.alike_share <= settings.most_alike_share
    return known and shape.width_mm <= settings.tube_width_mm and shape.widest_mm <= settings.tube_widest_mm


def _widths_mm(plane: np.ndarray, spacing_mm: Sequence[float]) -> list[float]:
    """`_width_mm` of each connected stroke of a plane."""
    parts, _ = ndimage.label(plane, structure=np.ones((3, 3)))
    return [_diagonal_mm(sides, spacing_mm) for sides in ndimage.find_objects(parts)]


def _width_mm(plane: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Of the box around what is drawn in a plane, (X, Y) bool, at least a voxel: its diagonal."""
    return _diagonal_mm(ndimage.find_objects(plane.astype(np.uint8))[0], spacing_mm)


def _diagonal_mm(sides: Sequence[slice], spacing_mm: Sequence[float]) -> float:
    """From centre to centre of the outermost voxels."""
    return float(
        np.linalg.norm([(side.stop - side.start - 1) * step for side, step in zip(sides, spacing_mm[:2], strict=True)])
    )
