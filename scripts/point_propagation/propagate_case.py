"""The support's points in one query volume: located, compared, kept or dropped (section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.data.cached_volume import CachedVolume
from scripts.data.records import PointSet
from scripts.data.scribbles import ScribblePoints
from scripts.point_propagation.atlas_paths import PointAtlas, find_through
from scripts.point_propagation.propagator import Propagator, SupportPoints
from scripts.points.denoising import DenoisingRule, denoise, product_of_levels
from scripts.points.propagated_points import located_points, points_at_home
from scripts.points.tissue_check import local_intensities, tissue_misfits

TISSUE_MISFIT, CYCLE_MM = "tissue_misfit", "cycle_mm"  # what was measured at a point, as its record names it


@dataclass(frozen=True)
class DescribedSupport:
    """The support's N scribble points as networks and tissue check describe them; needed once per support.

    Attributes:
        scribbles: the points.
        points: positions and features by the networks.
        intensities: (N,) around each, in [0, 1].
    """

    scribbles: ScribblePoints
    points: SupportPoints
    intensities: np.ndarray


def describe_support(scribbles: ScribblePoints, volume: CachedVolume, propagator: Propagator) -> DescribedSupport:
    """Describe the support's scribble points.

    Args:
        scribbles: in the support's world.
        volume: the support at the working spacing.
        propagator: with the trained networks.
    """
    voxels = nearest_voxels(to_voxels(scribbles.world_mm, volume.affine), volume.body.shape)
    points = propagator.describe_support(volume.image, volume.body, torch.as_tensor(voxels))
    return DescribedSupport(scribbles, points, local_intensities(volume.image[0].numpy(), voxels))


def propagate_case(
    support: DescribedSupport,
    query: CachedVolume,
    propagator: Propagator,
    rule: DenoisingRule,
    atlases: Mapping[int, Sequence[PointAtlas]] = {},
) -> PointSet:
    """The support's points located in a query volume and denoised.

    Args:
        support: see `describe_support`.
        query: the case at the working spacing.
        propagator: with the trained networks.
        rule: which similarities, and which tissue, a kept point needs.
        atlases: class value -> cases by way of which its points are sought, too.
    """
    labels, seen = support.scribbles.labels, propagator.look(query.image, query.body)
    found = find_through(propagator, seen, support.points, labels, atlases, rule.levels)
    located = propagator.compared(seen, support.points, found)
    voxels = nearest_voxels(located.voxels, query.body.shape)
    scores = product_of_levels(located.similarities, rule.levels)
    misfits = tissue_misfits(labels, support.intensities, local_intensities(query.image[0].numpy(), voxels))
    evidence = {TISSUE_MISFIT: misfits} | ({} if located.cycle_mm is None else {CYCLE_MM: located.cycle_mm})
    return located_points(
        support.scribbles,
        to_world(located.voxels, query.affine),
        voxels,
        scores,
        denoise(labels, voxels, scores, misfits, rule, located.cycle_mm),
        located.similarities,
        evidence,
    )


def points_on_support(support: DescribedSupport, volume: CachedVolume) -> PointSet:
    """The support's own points: where they are, alike to themselves, all kept.

    Args:
        support: see `describe_support`.
        volume: the support at the working spacing.
    """
    points = points_at_home(support.scribbles, volume.affine, volume.body.shape)
    misfits = tissue_misfits(points.labels, support.intensities, support.intensities)
    ones = np.ones(len(points))
    evidence = {TISSUE_MISFIT: misfits} | ({CYCLE_MM: 0 * ones} if support.points.searched is not None else {})
    return replace(points, similarities=dict.fromkeys(support.points.features, ones), evidence=evidence)
