"""Located points judged by class probabilities: a point stays where its class is likely, or moves there if near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from scripts.common.affines import spacing_of, to_world
from scripts.common.label_channels import LabelChannels
from scripts.data.records import KEPT, PointSet
from scripts.points.denoising import TISSUE

LOW_PROBABILITY = "low probability"


def check_points(
    points: PointSet,
    probabilities: np.ndarray,
    classes: LabelChannels,
    affine: np.ndarray,
    least_probability: float,
    reach_mm: float,
) -> PointSet:
    """The points, each kept or not by the probability of its class at its place.

    A stroke marks an organ, not a place to the millimetre: where its class is in doubt, the nearest voxel where it is
    not takes its place. Tissue speaks against a point only where it stays.

    Args:
        points: places on the working grid.
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first.
        classes: of the channels.
        affine: (4, 4) of the working grid.
        least_probability: above it a class is beyond doubt.
        reach_mm: how far a point may be moved.

    Returns:
        With new places and reasons, and how far each was moved as the evidence "moved_mm".
    """
    spacing_mm = np.array(spacing_of(affine))
    located_mm, voxels = points.located_mm.copy(), points.working_voxels.copy()
    moved_mm, reasons = np.zeros(len(points)), points.reasons.copy()
    channel_of = classes.channel_of()
    channels = np.array([channel_of[label] for label in points.labels.tolist()], dtype=int)
    likely = probabilities[(channels, *points.working_voxels.T)] > least_probability
    reasons[likely & (reasons != TISSUE)] = KEPT
    for channel in np.unique(channels[~likely]):
        doubted = np.flatnonzero(~likely & (channels == channel))
        reasons[doubted] = LOW_PROBABILITY
        places = np.argwhere(probabilities[channel] > least_probability)
        if not len(places):
            continue
        distance_mm, nearest = cKDTree(places * spacing_mm).query(points.working_voxels[doubted] * spacing_mm)
        near = distance_mm <= reach_mm
        moved = doubted[near]
        reasons[moved], moved_mm[moved] = KEPT, distance_mm[near]
        voxels[moved] = places[nearest[near]]
        located_mm[moved] = to_world(voxels[moved], affine)
    evidence = {**points.evidence, "moved_mm": moved_mm}
    return replace(points, located_mm=located_mm, working_voxels=voxels, reasons=reasons, evidence=evidence)
