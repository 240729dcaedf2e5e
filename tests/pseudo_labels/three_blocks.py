"""A case whose right label map is known voxel by voxel: three bright organs, blocks in dark fat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scripts.common.affines import to_world
from scripts.common.label_channels import LabelChannels
from scripts.data.intensity import normalise_hu
from scripts.data.records import KEPT, PointSet
from scripts.data.resampling import canonical
from scripts.data.volume_io import Volume
from scripts.pseudo_labels.label_case import label_case
from scripts.pseudo_labels.settings import GeodesicSettings

CLASSES = {"spleen": 1, "left_kidney": 3, "liver": 6}
SPACING_MM = (2.0, 2.5, 3.0)
SHAPE = (24, 20, 16)  # along the affine's own axes
FAT_HU, ORGAN_HU = -100.0, 200.0
# Mode `paper`: everything grows from points.
FROM_POINTS = GeodesicSettings(body_only=False, seed_probability=None, probability_weight=0.0)


class Point(NamedTuple):
    """A located point: class name or "background", voxel on the case's own grid, score, whether it was kept."""

    name: str
    voxel: tuple[int, int, int]
    score: float = 1.0
    kept: bool = True


CENTRES = (Point("spleen", (6, 6, 7)), Point("left_kidney", (17, 6, 7)), Point("liver", (12, 15, 7)))
AROUND = tuple(Point("background", voxel, 0.4) for voxel in ((0, 0, 0), (12, 1, 14), (22, 18, 1)))
POINTS = CENTRES + AROUND


def truth_values() -> np.ndarray:
    """(X, Y, Z) uint8 label values."""
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[3:10, 3:10, 3:12], truth[14:21, 3:10, 3:12], truth[8:16, 12:18, 3:12] = 1, 3, 6
    return truth


def hu_volume() -> np.ndarray:
    """(X, Y, Z) HU of the three organs in fat."""
    return np.where(truth_values() > 0, ORGAN_HU, FAT_HU).astype(np.float32)


def point_set(points: Sequence[Point], affine: np.ndarray) -> PointSet:
    """The points in the world of the case's own grid."""
    labels = np.array([CLASSES.get(point.name, 0) for point in points], dtype=int)
    voxels = np.array([point.voxel for point in points], dtype=int).reshape(-1, 3)
    located_mm = to_world(voxels, affine)
    scores = np.array([point.score for point in points], dtype=float)
    reasons = np.array([KEPT if point.kept else "similarity" for point in points], dtype=object)
    return PointSet(labels, voxels, located_mm, located_mm, voxels, scores, reasons)


def normalised(hu: np.ndarray, affine: np.ndarray) -> Volume:
    """Canonical and in [0, 1], on the case's own grid."""
    volume = canonical(Volume(hu, affine))
    return Volume(normalise_hu(volume.array), volume.affine)


def labelled(affine, points=POINTS, settings=FROM_POINTS, hu=None, image=None, **more):
    """(X, Y, Z) label values that `label_case` gives the case, and the whole result."""
    image = image or normalised(hu_volume() if hu is None else hu, affine)
    result = label_case(image, point_set(points, affine), SHAPE, affine, CLASSES, settings, **more)
    return LabelChannels(CLASSES).to_values(result.channels), result
