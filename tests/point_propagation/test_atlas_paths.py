"""Paths over atlases by hand: which cases are atlases, where their paths meet, on an anisotropic grid."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.point_propagation.atlas_paths import (
    PointAtlas,
    atlases_by_class,
    class_scores,
    find_through,
    geometric_median,
)
from scripts.point_propagation.propagator import FoundPoints, SupportPoints

SPACING_MM = (2.0, 3.0, 5.0)
LEVELS = ("m2", "m4")
SCORES = {"a": {0: 0.9, 1: 0.2, 3: 0.7}, "b": {0: 0.1, 1: 0.8}, "c": {0: 0.5, 1: 0.5}, "d": {0: 0.5, 3: 0.4}}


def test_a_class_s_score_is_the_mean_of_its_points():
    assert class_scores(np.array([1, 0, 1, 3]), np.array([0.2, 0.7, 0.6, 0.1])) == {0: 0.7, 1: 0.4, 3: 0.1}


def test_each_class_has_the_atlases_whose_points_of_it_look_most_like_the_support_s():
    assert atlases_by_class(SCORES, 2, 1.0, "e") == {1: ["b", "c"], 3: ["a", "d"]}, "background has none"
    assert atlases_by_class(SCORES, 2, 1.0, "a") == {1: ["b", "c"], 3: ["d", "b"]}, "no case is its own atlas"
    assert atlases_by_class(SCORES, 1, 1.0, None) == {1: ["b", "c"], 3: ["a", "d"]}, "one more, for the best itself"
    assert atlases_by_class(SCORES, 9, 1.0, "b")[1] == ["c", "a", "d"], "a case without points of the class comes last"
    assert atlases_by_class({}, 2, 1.0, "a") == {}


def test_atlases_are_chosen_from_four_times_as_many_cases():
    scores = {f"case_{number}": {1: number / 10} for number in range(9)}
    assert atlases_by_class(scores, 3, 0.25, "case_8") == {1: ["case_7", "case_6"]}, "2 of 8 others"
    assert atlases_by_class(scores, 1, 0.25, "case_8") == {1: ["case_7"]}
    few = {case: scores[case] for case in ("case_1", "case_2", "case_3", "case_4")}
    assert atlases_by_class(few, 3, 0.25, "case_1") == {1: []} == atlases_by_class(few, 3, 0.25, None)


def test_the_geometric_median_of_three_places_in_a_row_is_the_middle_one():
    places_mm = torch.tensor([[[0.0, 0, 0]], [[4.0, 6, 10]], [[40.0, 60, 100]]])
    assert geometric_median(places_mm, torch.ones(3, 1))[0].tolist() == pytest.approx([4, 6, 10], abs=0.3)


def test_a_path_that_outweighs_all_others_together_ends_where_the_point_is():
    places_mm = torch.tensor([[[0.0, 0, 0]], [[50.0, 0, 0]], [[0.0, 50, 0]]])
    weights = torch.tensor([[1.0], [0.3], [0.3]])
    assert geometric_median(places_mm, weights)[0].tolist() == pytest.approx([0, 0, 0], abs=0.5)


class StandIn:
    """Finds each set of points where it is told; what looks alike is told, too."""

    fine = SimpleNamespace(spacing_mm=SPACING_MM)

    def __init__(self, places, cosines):
        self.places, self.cosines = places, cosines
        self.asked = []

    def find(self, query, support):
        self.asked.append(support)
        voxels = torch.tensor(self.places[float(support.coarse[0, 0])])
        return FoundPoints(voxels, voxels + 1)

    def similarities(self, query, support, voxels):
        cosine = self.cosines[float(support.coarse[0, 0])]
        return {level: torch.full((len(voxels),), cosine) for level in (*LEVELS, "m1")}


def described(number, count):
    return SupportPoints(torch.full((count, 3), float(number)), torch.zeros(count, 3), {})


def through(propagator, support, labels, atlases):
    direct = propagator.find(None, support)
    return find_through(propagator, None, support, direct, labels, atlases, LEVELS)


def test_a_class_goes_where_its_paths_meet_and_the_others_keep_the_direct_place():
    direct = [[0.0, 0, 0], [9.0, 9, 9], [20.0, 0, 0]]
    propagator = StandIn(
        {1: direct, 2: [[10.0, 0, 0], [30.0, 2, 0]], 3: [[10.0, 0, 0], [30.0, 2, 0]]}, {1: 0.5, 2: 1.0, 3: 1.0}
    )
    atlases = {3: [PointAtlas(described(2, 2), np.ones(2)), PointAtlas(described(3, 2), np.ones(2))], 0: []}
    found = through(propagator, described(1, 3), np.array([3, 0, 3]), atlases)
    assert found.voxels[1].tolist() == [9, 9, 9], "background has no atlas"
    assert np.abs(found.voxels.numpy() - [[10, 0, 0], [9, 9, 9], [30, 2, 0]]).max() < 0.2
    assert torch.equal(found.proposed, torch.tensor(direct) + 1), "what the networks proposed stays theirs"


def test_a_path_counts_as_its_atlas_s_points_look_like_the_support_s():
    places = {1: [[0.0, 0, 0]], 2: [[10.0, 0, 0]], 3: [[10.0, 0, 0]]}
    for score, x in ((0.1, 0.0), (0.9, 10.0)):
        atlases = {3: [PointAtlas(described(number, 1), np.array([score])) for number in (2, 3)]}
        propagator = StandIn(places, {1: 0.7, 2: 0.8, 3: 0.8})
        found = through(propagator, described(1, 1), np.array([3]), atlases)
        assert found.voxels[0].tolist() == pytest.approx([x, 0, 0], abs=0.2)


def test_without_atlases_nothing_is_compared():
    propagator = StandIn({1: [[1.0, 2, 3]]}, {})
    found = through(propagator, described(1, 1), np.array([3]), {3: []})
    assert found.voxels.tolist() == [[1, 2, 3]]
