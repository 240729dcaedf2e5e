"""The core of the stage with stand-ins for the networks: every number by hand, on an anisotropic grid."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.data.cached_volume import CachedVolume
from scripts.data.scribbles import ScribblePoints
from scripts.point_propagation.atlas_paths import PointAtlas
from scripts.point_propagation.body_map import BodyMapSettings
from scripts.point_propagation.propagate_case import describe_support, points_on_support, propagate_case
from scripts.point_propagation.propagator import FoundPoints, LocatedPoints, SupportPoints
from scripts.points.denoising import denoising_rule

# Steps of 4, 4 and 5 mm; the query's origin lies 100 mm further along x.
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
QUERY_AFFINE = AFFINE + np.array([[0, 0, 0, 100.0], *[[0] * 4] * 3])
SHAPE = (6, 6, 6)
LEVELS = ("m1", "m2", "m3", "m4")
SCRIBBLES = ScribblePoints(
    labels=np.array([1, 3, 0]),
    voxels=np.array([[9, 9, 9], [8, 8, 8], [7, 7, 7]]),
    world_mm=np.array([[4.0, 4.0, 5.0], [8.0, 8.0, 10.0], [16.0, 16.0, 20.0]]),
)


class StandIn:
    """Places of the three points in voxels, and their cosines at every level."""

    def __init__(self, voxels, cosines, cycle_mm=None):
        cycle_mm = None if cycle_mm is None else np.array(cycle_mm)
        self.located = LocatedPoints(np.array(voxels), {level: np.array(cosines) for level in LEVELS}, cycle_mm)
        self.described = None

    def describe_support(self, volume, body, voxels):
        self.described = voxels.tolist()
        return SupportPoints(torch.zeros(3, 3), torch.zeros(3, 3), dict.fromkeys(LEVELS, torch.zeros(3, 2)))

    def look(self, volume, body):
        return volume, body

    def find(self, query, support):
        return FoundPoints(torch.from_numpy(self.located.voxels), torch.from_numpy(self.located.voxels))

    def compared(self, query, support, found):
        assert torch.equal(found.voxels, torch.from_numpy(self.located.voxels))
        return self.located


def volume(affine, bright=()):
    """Tissue of 0.5, and of 0.9 around the voxels in `bright`."""
    image = torch.full((1, *SHAPE), 0.5)
    for x, y, z in bright:
        image[0, x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = 0.9
    return CachedVolume(image, torch.ones(SHAPE, dtype=torch.bool), affine)


def propagate(voxels, cosines, bright=(), cycle_mm=None, **rule):
    propagator = StandIn(voxels, cosines, cycle_mm)
    support = describe_support(SCRIBBLES, volume(AFFINE), propagator)
    assert propagator.described == [[1, 1, 1], [2, 2, 2], [4, 4, 4]], "the support's working voxels"
    return propagate_case(support, volume(QUERY_AFFINE, bright), propagator, denoising_rule("dual", **rule))


def test_places_are_in_the_query_s_world_and_scores_are_products_of_two_levels():
    points = propagate([[0.5, 1, 1], [2, 2, 2], [4, 4.4, 4]], [0.8, 0.6, 0.9])
    assert points.located_mm.tolist() == [[102.0, 4, 5], [108, 8, 10], [116, pytest.approx(17.6), 20]]
    assert points.working_voxels.tolist() == [[0, 1, 1], [2, 2, 2], [4, 4, 4]]
    assert points.scores == pytest.approx([0.64, 0.36, 0.81]) and points.reasons.tolist() == ["", "similarity", ""]
    assert points.support_mm.tolist() == SCRIBBLES.world_mm.tolist()
    assert points.support_voxels.tolist() == SCRIBBLES.voxels.tolist()
    assert points.similarities["m1"].tolist() == [0.8, 0.6, 0.9]


def test_points_that_share_a_working_voxel_collide():
    points = propagate([[2.2, 2, 2], [2, 2, 2], [1.9, 2, 2]], [0.8, 0.9, 1.0])
    assert points.reasons.tolist() == ["collision", "", "collision"]


def test_a_point_in_brighter_tissue_misfits_by_the_difference():
    points = propagate([[1, 1, 1], [3, 3, 3], [4, 4, 4]], [0.9, 0.9, 0.9], bright=[(3, 3, 3)], tissue_tolerance=0.08)
    assert points.evidence["tissue_misfit"] == pytest.approx([0, 0.4, 0])
    assert points.reasons.tolist() == ["", "tissue", ""]


def test_a_point_that_comes_back_elsewhere_is_dropped_where_a_search_was_made():
    places = [[1, 1, 1], [3, 3, 3], [4, 4, 4]]
    points = propagate(places, [0.9, 0.9, 0.9], cycle_mm=[3.0, 17.0, 16.0], point_cycle_mm=16.0)
    assert points.evidence["cycle_mm"].tolist() == [3, 17, 16] and points.reasons.tolist() == ["", "cycle", ""]
    assert list(propagate(places, [0.9, 0.9, 0.9], point_cycle_mm=16.0).evidence) == ["tissue_misfit"]


def test_on_the_support_every_point_stays_and_is_alike_to_itself():
    support = describe_support(SCRIBBLES, volume(AFFINE), StandIn([], []))
    points = points_on_support(support, volume(AFFINE))
    assert points.located_mm.tolist() == SCRIBBLES.world_mm.tolist() and points.kept.all()
    assert points.working_voxels.tolist() == [[1, 1, 1], [2, 2, 2], [4, 4, 4]] and points.scores.tolist() == [1, 1, 1]
    assert list(points.similarities) == list(LEVELS) and points.similarities["m4"].tolist() == [1, 1, 1]
    assert points.evidence["tissue_misfit"].tolist() == [0, 0, 0]


HOME = np.array([*((x, y, z) for x in (0, 5) for y in (0, 5) for z in (0, 5)), (2, 2, 2)], dtype=float)
FOUND = np.array([*HOME[:-1], (2, 2, 5.9)])
BOX = ScribblePoints(labels=np.array([0] * 8 + [3]), voxels=HOME.astype(int), world_mm=HOME @ AFFINE[:3, :3].T)


class Finder(StandIn):
    """Eight corners of a box and a point in its middle that was found 20 mm away; steps of 4, 4 and 5 mm."""

    fine = SimpleNamespace(spacing_mm=(4.0, 4.0, 5.0))

    def __init__(self, alike):
        super().__init__(FOUND, np.ones(9))
        self.alike, self.asked = alike, []

    def describe_support(self, volume, body, voxels):
        return SupportPoints(torch.zeros(9, 3), torch.zeros(9, 3), {})

    def find(self, query, support):
        found = torch.from_numpy(FOUND[-len(support.coarse) :])
        return FoundPoints(found, found)

    def compared(self, query, support, found):
        cosines = {level: np.ones(9) for level in LEVELS}
        return LocatedPoints(found.voxels.double().numpy(), cosines)

    def similarities(self, query, support, voxels):
        as_found = (voxels == torch.from_numpy(FOUND[-len(voxels) :])).all(dim=1)
        self.asked.append(int(as_found.sum()))
        return {level: torch.where(as_found, self.alike, 0.9) for level in LEVELS}


def located_in_box(propagator, limit_mm, atlases=None):
    support, query = describe_support(BOX, volume(AFFINE), propagator), volume(QUERY_AFFINE)
    body_map = BodyMapSettings(largest_residual_mm=limit_mm, doubt_mm=2.0)
    return propagate_case(support, query, propagator, denoising_rule("dual", 0.0), atlases or {}, body_map)


def test_points_go_where_the_body_says_if_they_follow_it_and_are_found_one_by_one_if_not():
    def located(limit_mm, alike=0.9):
        return located_in_box(Finder(alike), limit_mm)

    by_body, one_by_one, unlike = located(16.0), located(0.0), located(16.0, alike=1.0)
    assert by_body.located_mm[-1] == pytest.approx([108, 8, 10], abs=1), "in the middle, 100 mm further along x"
    assert one_by_one.located_mm[-1] == pytest.approx([108, 8, 29.5])
    assert unlike.located_mm[-1] == pytest.approx(by_body.located_mm[-1]), "0.19 more where it was found is not enough"
    for points in (by_body, one_by_one):
        assert points.evidence["map_mm"][-1] == pytest.approx(19.5, abs=1) and points.evidence["map_mm"][:-1].max() < 1


@pytest.mark.parametrize(("limit_mm", "asked"), [(16.0, [9, 0, 1]), (0.0, [9, 1])])
def test_points_are_compared_once_where_they_were_found_directly(limit_mm, asked):
    """Of the believed map too, and where it says; then the atlas's point. The class looks less alike by the map."""
    propagator = Finder(alike=1.2)
    atlas = PointAtlas(SupportPoints(torch.zeros(1, 3), torch.zeros(1, 3), {}), np.ones(1))
    points = located_in_box(propagator, limit_mm, {3: [atlas]})
    assert propagator.asked == asked
    assert points.located_mm[-1] == pytest.approx([108, 8, 29.5])
