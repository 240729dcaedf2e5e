"""Which volumes are central: rankings from tables of similarities and fields made by hand."""

import numpy as np
import pytest
import torch

from scripts.registration.centrality import (
    BodyPair,
    Centrality,
    CentralitySettings,
    bring_together,
    pairs_to_compare,
    proposed,
    rank_by_centrality,
    shown_fields,
)
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import Landmarks
from scripts.registration.robust_affine import AffineMap

SETTINGS = CentralitySettings(field_margin_mm=0.0, least_field=0.9)
HERE = AffineMap(np.eye(3), np.zeros(3))


def body(low_mm, high_mm):
    """Places every 10 mm along the body's axis, (N, 3)."""
    along = np.arange(low_mm, high_mm + 1, 10.0)
    return np.column_stack([np.zeros((len(along), 2)), along])


def pairs(similarities, to_second=HERE, to_first=HERE):
    """{"ab": 0.5} -> pairs of volumes with one-letter names."""
    return {tuple(names): BodyPair(value, to_second, to_first) for names, value in similarities.items()}


def summary(ranking):
    return [(one.case, round(one.similarity, 6), round(one.field_shown, 6)) for one in ranking]


def test_the_volume_with_the_highest_median_similarity_is_first():
    """The means of a and c are equal: one volume that is unlike c does not count."""
    bodies = dict.fromkeys("abcd", body(0, 100))
    table = pairs({"ab": 0.2, "ac": 0.6, "ad": 0.4, "bc": 0.5, "bd": 0.3, "cd": 0.1})
    expected = [("c", 0.5, 1.0), ("a", 0.4, 1.0), ("b", 0.3, 1.0), ("d", 0.3, 1.0)]
    assert summary(rank_by_centrality(bodies, table, SETTINGS)) == expected, "equal ones in the order of names"


def test_a_short_volume_comes_last_and_is_not_proposed():
    """Of the eleven places that three volumes show, a shows 0 to 40 mm: five."""
    bodies = {"a": body(0, 40), **dict.fromkeys("bcd", body(0, 100))}
    table = pairs({"ab": 0.9, "ac": 0.9, "ad": 0.9, "bc": 0.4, "bd": 0.3, "cd": 0.2})
    ranking = rank_by_centrality(bodies, table, SETTINGS)
    assert summary(ranking) == [("b", 0.4, 1), ("c", 0.4, 1), ("d", 0.3, 1), ("a", 0.9, round(5 / 11, 6))]
    assert [one.case for one in proposed(ranking, 4, SETTINGS.least_field)] == ["b", "c", "d"]


def test_what_one_volume_alone_shows_belongs_to_no_common_field():
    bodies = {"a": body(-500, 500), **dict.fromkeys("bcd", body(0, 100))}
    table = pairs({"ab": 0.5, "ac": 0.5, "ad": 0.5, "bc": 0.5, "bd": 0.5, "cd": 0.5})
    assert {one.field_shown for one in rank_by_centrality(bodies, table, SETTINGS)} == {1.0}


def test_the_margin_counts_as_shown():
    """a ends 10 mm below the others."""
    bodies = {"a": body(0, 90), **dict.fromkeys("bcd", body(0, 100))}
    table = pairs({"ab": 0.5, "ac": 0.5, "ad": 0.5, "bc": 0.5, "bd": 0.5, "cd": 0.5})
    partners = {case: {} for case in bodies}
    for (first, second), pair in table.items():
        partners[first][second], partners[second][first] = pair, pair.turned_round()
    assert shown_fields(bodies, partners, margin_mm=9.0)["a"] == pytest.approx(10 / 11)
    assert shown_fields(bodies, partners, margin_mm=10.0)["a"] == 1.0


def test_fields_are_compared_after_the_affine_maps():
    """b is twice as long and lies 1000 mm higher, but shows the same; c shows the lower half of it."""
    bodies = {"a": body(0, 100), "b": body(1000, 1200), "c": body(0, 50), "d": body(0, 100)}
    up, down = AffineMap(2 * np.eye(3), np.array([0, 0, 1000.0])), AffineMap(np.eye(3) / 2, np.array([0, 0, -500.0]))
    table = (
        pairs({"ac": 0.5, "ad": 0.5, "cd": 0.5})
        | pairs({"ab": 0.5}, up, down)
        | pairs({"bc": 0.5, "bd": 0.5}, down, up)
    )
    shown = {one.case: one.field_shown for one in rank_by_centrality(bodies, table, SETTINGS)}
    assert shown == {"a": 1.0, "b": 1.0, "c": pytest.approx(6 / 11), "d": 1.0}


def test_a_volume_that_matches_none_is_last_and_takes_nothing_from_the_others():
    bodies = dict.fromkeys("abcd", body(0, 100)) | {"d": np.empty((0, 3))}
    table = pairs({"ab": 0.5, "ac": 0.5, "bc": 0.5}) | {("a", "d"): BodyPair(0.0), ("b", "d"): BodyPair(0.0)}
    assert summary(rank_by_centrality(bodies, table, SETTINGS))[2:] == [("c", 0.5, 1.0), ("d", 0.0, 0.0)]


def test_where_no_volume_shows_the_field_the_fullest_is_proposed():
    ranking = [Centrality("a", 0.9, 0.5), Centrality("b", 0.1, 0.7)]
    assert proposed(ranking, 3, 0.9) == [ranking[1]]


def test_few_volumes_are_all_compared():
    assert pairs_to_compare(["b", "c", "a"], 2, 0) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_of_many_each_has_as_many_partners():
    names = [str(number) for number in range(30)]
    drawn = pairs_to_compare(names, 6, 0)
    assert len({frozenset(pair) for pair in drawn}) == len(drawn) == 90
    assert {sum(name in pair for pair in drawn) for name in names} == {6}
    assert drawn == pairs_to_compare(names[::-1], 6, 0) and drawn != pairs_to_compare(names, 6, 1)


def test_maps_run_both_ways():
    corners = torch.tensor([[x, y, z] for x in (0.0, 20.0) for y in (0.0, 60.0) for z in (0.0, 100.0)])
    pair = bring_together(Landmarks(corners, torch.eye(8)), Landmarks(corners + 7, torch.eye(8)), MatchingSettings())
    assert pair.similarity == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(pair.forward(np.zeros((1, 3))), [[7, 7, 7]], atol=1e-6)
    np.testing.assert_allclose(pair.backward(np.zeros((1, 3))), [[-7, -7, -7]], atol=1e-6)
    assert pair.turned_round() == BodyPair(pair.similarity, pair.backward, pair.forward)


def test_bodies_without_matches_have_no_map():
    nothing = Landmarks(torch.empty(0, 3), torch.empty(0, 8))
    assert bring_together(nothing, nothing, MatchingSettings()) == BodyPair(0.0)
