"""The support's points in one query volume: located, compared, kept or dropped (section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.data.cached_volume import CachedVolume
from scripts.data.records import PointSet
from scripts.data.scribbles import ScribblePoints
from scripts.point_propagation.atlas_paths import PointAtlas, find_through, scores_at
from scripts.point_propagation.body_map import BodyMapSettings, map_points, on_the_map
from scripts.point_propagation.propagator import FoundPoints, Propagator, Query, SupportPoints
from scripts.points.denoising import DenoisingRule, denoise, product_of_levels
from scripts.points.propagated_points import located_points, points_at_home
from scripts.points.tissue_check import local_intensities, tissue_misfits

# What was measured at a point, as its record names it.
TISSUE_MISFIT, CYCLE_MM, MAP_MM = "tissue_misfit", "cycle_mm", "map_mm"


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
    body_map: BodyMapSettings | None = None,
) -> PointSet:
    """The support's points located in a query volume and denoised.

    Where the points found directly follow one map of the body, that says where classes are, unless one looks much less
    like the support's there. Atlases help the others.

    Args:
        support: see `describe_support`.
        query: the case at the working spacing.
        propagator: with the trained networks.
        rule: which similarities, and which tissue, a kept point needs.
        atlases: class value -> cases by way of which its points are sought, too.
        body_map: when that map is believed; None asks for none.
    """
    labels, seen = support.scribbles.labels, propagator.look(query.image, query.body)
    direct = propagator.find(seen, support.points)
    by_body = None if body_map is None else _by_body(support, query, seen, direct, propagator, rule, body_map)
    if by_body is not None:
        atlases = {value: of_class for value, of_class in atlases.items() if not by_body.chosen[labels == value].any()}
    scores = None if by_body is None else by_body.direct_scores
    found = find_through(propagator, seen, support.points, direct, labels, atlases, rule.levels, scores)
    if by_body is not None:
        chosen = torch.from_numpy(by_body.chosen)[:, None]
        found = FoundPoints(*(torch.where(chosen, by_body.voxels, places) for places in (found.voxels, found.proposed)))
    located = propagator.compared(seen, support.points, found)
    voxels = nearest_voxels(located.voxels, query.body.shape)
    scores = product_of_levels(located.similarities, rule.levels)
    misfits = tissue_misfits(labels, support.intensities, local_intensities(query.image[0].numpy(), voxels))
    evidence = {TISSUE_MISFIT: misfits} | ({} if located.cycle_mm is None else {CYCLE_MM: located.cycle_mm})
    evidence |= {} if by_body is None else {MAP_MM: by_body.residuals_mm}
    return located_points(
        support.scribbles,
        to_world(located.voxels, query.affine),
        voxels,
        scores,
        denoise(labels, voxels, scores, misfits, rule, located.cycle_mm),
        located.similarities,
        evidence,
    )


@dataclass(frozen=True)
class _ByBody:
    """What the map of the body says of N points.

    Attributes:
        voxels: (N, 3) where they are by it, inside the volume.
        chosen: (N,) which of these count.
        residuals_mm: (N,) how far each was found from it.
        direct_scores: (N,) how alike they look where they were found directly; None if the map is not believed.
    """

    voxels: Tensor
    chosen: np.ndarray
    residuals_mm: np.ndarray
    direct_scores: np.ndarray | None


def _by_body(
    support: DescribedSupport,
    query: CachedVolume,
    seen: Query,
    direct: FoundPoints,
    propagator: Propagator,
    rule: DenoisingRule,
    settings: BodyMapSettings,
) -> _ByBody:
    labels = support.scribbles.labels
    found_mm = to_world(direct.voxels.double().numpy(), query.affine)
    mapped = map_points(support.scribbles.world_mm, found_mm, settings)
    last = np.array(query.body.shape) - 1
    voxels = torch.from_numpy(to_voxels(mapped.places_mm, query.affine).clip(0, last)).to(direct.voxels.dtype)
    if not mapped.believed:
        return _ByBody(voxels, np.zeros(len(labels), dtype=bool), mapped.residuals_mm, None)
    here, there = (
        scores_at(propagator, seen, support.points, places, rule.levels) for places in (direct.voxels, voxels)
    )
    return _ByBody(voxels, on_the_map(labels, here, there, settings.most_score_lost), mapped.residuals_mm, here)


def points_on_support(support: DescribedSupport, volume: CachedVolume, with_map: bool = False) -> PointSet:
    """The support's own points: where they are, alike to themselves, all kept.

    Args:
        support: see `describe_support`.
        volume: the support at the working spacing.
        with_map: whether other cases' records tell how far points were found from a map.
    """
    points = points_at_home(support.scribbles, volume.affine, volume.body.shape)
    misfits = tissue_misfits(points.labels, support.intensities, support.intensities)
    ones = np.ones(len(points))
    nowhere_else = (*((CYCLE_MM,) if support.points.searched is not None else ()), *((MAP_MM,) if with_map else ()))
    evidence = {TISSUE_MISFIT: misfits} | dict.fromkeys(nowhere_else, 0 * ones)
    return replace(points, similarities=dict.fromkeys(support.points.features, ones), evidence=evidence)
