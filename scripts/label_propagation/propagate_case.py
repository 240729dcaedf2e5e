"""The first round's core: the support's scribbles, and its mask if there is one, sent to one case (mode `default`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.common.overlap import dice_of, likely_mask
from scripts.data.cached_volume import CachedVolume
from scripts.data.records import KEPT, PointSet
from scripts.data.scribbles import ScribblePoints
from scripts.embedding.dense_embedding import WindowSettings
from scripts.label_propagation.atlas import Atlas
from scripts.label_propagation.label_transfer import TransferSettings, transfer_labels
from scripts.label_propagation.prediction import Prediction, background_alone, propagate_labels
from scripts.points.denoising import COLLISION, CYCLE, TISSUE, collisions
from scripts.points.propagated_points import located_points, points_at_home
from scripts.points.tissue_check import local_intensities, tissue_misfits
from scripts.registration.body import Body
from scripts.registration.embedding_matching import BodyMaps, MatchingSettings, locate, maps_between
from scripts.registration.orientation import Landmarks, OrientationSettings, affine_fits, turned
from scripts.registration.robust_affine import TooFewMatchesError


@dataclass(frozen=True)
class KeepingRule:
    """Which located points are kept.

    Attributes:
        point_cycle_mm: located in the case and back, a point must end within this distance of the support's, in mm.
        tissue_tolerance: how far, in intensity from 0 to 1 (0.08 is 40 HU of soft tissue), a point may lie outside the
            range of its class's strokes; None checks no tissue.
    """

    point_cycle_mm: float = 16.0
    tissue_tolerance: float | None = 0.08


@dataclass(frozen=True)
class FirstRoundSettings:
    """The first round's settings, see each part."""

    windows: WindowSettings = field(default_factory=WindowSettings)
    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    keeping: KeepingRule = field(default_factory=KeepingRule)
    orientation: OrientationSettings = field(default_factory=OrientationSettings)


@dataclass(frozen=True)
class PropagatedSupport:
    """The support, as it is sent to other cases.

    Attributes:
        volume: at the working spacing.
        body: its embedding.
        scribbles: its points.
        classes: name -> label value, in the order of the atlas's channels.
        orientations: its body, turned in every way, see `landmarks_by_orientation`.
        atlas: with the support mask; None sends points alone.
    """

    volume: CachedVolume
    body: Body
    scribbles: ScribblePoints
    classes: Mapping[str, int]
    orientations: Mapping[str, Landmarks]
    atlas: Atlas | None = None

    @cached_property
    def places_mm(self) -> np.ndarray:
        """(N, 3) places of the points, mm of the working grid: voxel times spacing."""
        return to_voxels(self.scribbles.world_mm, self.volume.affine) * np.array(self.body.embedding.spacing_mm)

    @cached_property
    def intensities(self) -> np.ndarray:
        """(N,) around the points, in [0, 1]."""
        return _intensities(self.volume, to_voxels(self.scribbles.world_mm, self.volume.affine))


@dataclass(frozen=True)
class CasePropagation:
    """What was sent to a case.

    Attributes:
        points: the support's, located and judged.
        similarity: of the two bodies, see `BodyMaps`.
        turned: how the case's body is turned against the support's, in words; None where it is not.
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first; None without a
            support mask.
        round_trip_dice: class -> Dice of the support mask and of what its labels become, sent to the case and back.
    """

    points: PointSet
    similarity: float
    turned: str | None = None
    probabilities: np.ndarray | None = None
    round_trip_dice: Mapping[str, float] = field(default_factory=dict)


def propagate_home(support: PropagatedSupport) -> CasePropagation:
    """The support's own points and mask, as they are."""
    points = points_at_home(support.scribbles, support.volume.affine, support.volume.body.shape)
    probabilities = None if support.atlas is None else support.atlas.shares
    return CasePropagation(points, 1.0, None, probabilities, dict.fromkeys(support.classes, 1.0))


def propagate_case(
    support: PropagatedSupport, volume: CachedVolume, query: Body, settings: FirstRoundSettings
) -> CasePropagation:
    """Send the support's points, and the labels of its atlas if there is one, to a case.

    Args:
        support: see `PropagatedSupport`.
        volume: of the case, at the working spacing.
        query: the case's embedding.
        settings: see `FirstRoundSettings`.
    """
    try:
        maps = maps_between(support.body, query, settings.matching)
    except TooFewMatchesError:
        return _nothing_propagated(support, volume)
    fits = affine_fits(support.orientations, query, settings.matching, settings.orientation)
    orientation = turned(fits, settings.orientation)
    points = _judged_points(support, volume, query, maps, settings)
    if support.atlas is None:
        return CasePropagation(points, maps.similarity, orientation)
    prediction = propagate_labels(support.atlas, volume, query, maps.backward, settings.transfer)
    dice = _round_trip_dice(support, support.atlas, query, prediction, maps, settings.transfer)
    return CasePropagation(points, maps.similarity, orientation, prediction.probabilities, dice)


def _nothing_propagated(support: PropagatedSupport, volume: CachedVolume) -> CasePropagation:
    """For a body without tissue, or with nothing in common with the support's: it gets an empty label map."""
    points, dice = PointSet.empty(), dict.fromkeys(support.classes, 0.0)
    if support.atlas is None:
        return CasePropagation(points, 0.0)
    return CasePropagation(points, 0.0, None, background_alone(len(support.classes), volume.body.shape), dice)


def _round_trip_dice(
    support: PropagatedSupport,
    atlas: Atlas,
    query: Body,
    prediction: Prediction,
    maps: BodyMaps,
    settings: TransferSettings,
) -> dict[str, float]:
    """Class -> Dice of the support's cells and of those that the case's cells send back, where each is likely."""
    returned = transfer_labels(
        query.embedding, prediction.cells, support.body.embedding, support.volume.body, maps.forward, settings
    ).numpy()
    own = atlas.fractions.numpy()
    channels = enumerate(support.classes, start=1)
    return {name: dice_of(likely_mask(returned[n]), likely_mask(own[n]), of_nothing=0.0) for n, name in channels}


def _judged_points(
    support: PropagatedSupport, volume: CachedVolume, query: Body, maps: BodyMaps, settings: FirstRoundSettings
) -> PointSet:
    labels, spacing_mm = support.scribbles.labels, np.array(query.embedding.spacing_mm)
    located = locate(support.body, support.places_mm, query, maps.forward, settings.matching)
    returned = locate(query, located.places_mm, support.body, maps.backward, settings.matching)
    voxels = located.places_mm / spacing_mm
    working_voxels = nearest_voxels(voxels, volume.body.shape)
    misfits = tissue_misfits(labels, support.intensities, _intensities(volume, voxels))
    cycle_mm = np.linalg.norm(returned.places_mm - support.places_mm, axis=1)
    evidence = {
        "cycle_mm": cycle_mm,
        "affine_mm": np.linalg.norm(located.places_mm - maps.forward(support.places_mm), axis=1),
        "margin": located.margin,
        "tissue_misfit": misfits,
    }
    scores = located.similarity / len(query.embedding.levels)
    reasons = np.full(len(labels), KEPT, dtype=object)
    if settings.keeping.tissue_tolerance is not None:
        reasons[misfits > settings.keeping.tissue_tolerance] = TISSUE
    reasons[cycle_mm > settings.keeping.point_cycle_mm] = CYCLE
    reasons[collisions(labels, working_voxels, scores, reasons == KEPT)] = COLLISION
    located_mm = to_world(voxels, volume.affine)
    return located_points(
        support.scribbles, located_mm, working_voxels, scores, reasons.tolist(), {"joined": scores}, evidence
    )


def _intensities(volume: CachedVolume, voxels: np.ndarray) -> np.ndarray:
    return local_intensities(volume.image[0].numpy(), nearest_voxels(voxels, volume.body.shape))
