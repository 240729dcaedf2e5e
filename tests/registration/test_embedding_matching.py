"""Matching with an oracle: embeddings that are a function of the true anatomical place."""

import numpy as np
import pytest
import torch

from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.registration.body import body_of
from scripts.registration.embedding_matching import (
    MatchingSettings,
    _cycle_matches,
    locate,
    maps_between,
    nearest_cells,
    nearest_matches,
)
from tests.embedding_fixtures import SHAPE, oracle

SETTINGS = MatchingSettings(body_points=600)


def moved(places_mm):
    """Where a place of the second body lies in the first: 8 mm to the side, and 1.1 times as large."""
    return places_mm * 1.1 + [8.0, 0.0, -4.0]


PLACES_MM = np.random.default_rng(5).uniform(50, 90, (40, 3))


def test_an_oracle_embedding_gives_perfect_correspondence():
    first, second = oracle(lambda places: places), oracle(moved)
    maps = maps_between(first, second, SETTINGS)
    assert maps.similarity > 0.9
    truth = (PLACES_MM - [8.0, 0.0, -4.0]) / 1.1
    assert np.linalg.norm(maps.forward(PLACES_MM) - truth, axis=1).max() < 6
    assert np.linalg.norm(maps.backward(truth) - PLACES_MM, axis=1).max() < 6
    located = locate(first, PLACES_MM, second, maps.forward, SETTINGS)
    half_cell_mm = 0.5 * 8 * np.sqrt(3)
    assert np.linalg.norm(located.places_mm - truth, axis=1).max() <= half_cell_mm + 0.5
    assert (located.similarity > 1.7).all() and (located.margin > 0.1).all()


def test_a_twin_far_away_is_not_taken():
    """Places 100 mm apart along x look the same: the prior says which one is meant, and the margin that it is close."""
    first = second = oracle(lambda places: places * [0, 1, 1] + (places % [100, 1e9, 1e9]) * [1, 0, 0])
    places = torch.tensor([[20.0, 80.0, 60.0], [120.0, 80.0, 60.0]])
    blind = nearest_matches(first.at(places), second, SETTINGS)
    assert (blind.margin < 0.05).all()
    guided = nearest_matches(first.at(places), second, SETTINGS, expected_mm=places + 5)
    assert np.abs(guided.places_mm - places.numpy()).max() <= 4.5
    assert (guided.margin > blind.margin + 0.2).all()


def test_every_other_cell_and_then_its_neighbours_find_what_a_full_search_finds():
    body, other = oracle(lambda places: places), oracle(moved)
    vectors = other.vectors[::211]
    assert nearest_cells(vectors, body).tolist() == (vectors @ body.vectors.T).argmax(dim=1).tolist()


def test_the_prior_outweighs_a_little_more_similarity():
    """Cosines 1.0 at 0 mm and 0.98 at 24 mm: 24 mm from the prior's centre cost temperature * 24^2 / (2 * prior^2)."""
    levels = {"fine": torch.zeros(2, 13, 1, 1), "coarse": torch.ones(1, 4, 1, 1)}
    levels["fine"][1] = 1.0
    levels["fine"][:, 0, 0, 0] = torch.tensor([1.0, 0.0])
    levels["fine"][:, 12, 0, 0] = torch.tensor([0.98, np.sqrt(1 - 0.98**2)])
    body = body_of(DenseEmbedding(levels, (1.0, 1.0, 1.0)), torch.ones(26, 2, 2))
    vectors, expected_mm = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[24.5, 0.5, 0.5]])
    far = {
        prior_mm: MatchingSettings(match_prior_mm=prior_mm, match_temperature=0.1) for prior_mm in (24.0, 48.0, 72.0)
    }
    x_mm = {prior: nearest_matches(vectors, body, s, expected_mm).places_mm[0, 0] for prior, s in far.items()}
    assert x_mm == {24.0: 24.5, 48.0: 0.5, 72.0: 0.5}, "0.05, 0.0125 and 0.006 against 0.02"


def test_neighbours_of_a_cell_stay_in_the_body():
    body = oracle(lambda places: places)
    corner, inner = body.around(torch.tensor([0, 5000]))
    assert sorted(corner.unique().tolist()) == [0, 1, 16, 17, 320, 321, 336, 337]
    steps = (body.places_mm[inner] - body.places_mm[5000]).abs()
    assert len(inner.unique()) == 27 and steps.max() == 8.0


def test_only_cells_in_the_body_are_candidates():
    mask = torch.zeros(SHAPE)
    mask[:4, :2, :2] = 1
    levels = {"fine": torch.ones(1, 24, 20, 16), "coarse": torch.ones(1, 6, 5, 4)}
    body = body_of(DenseEmbedding(levels, (1.0, 2.0, 3.0)), mask)
    assert body.cells.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert body.places_mm.tolist() == [[0.5, 1.0, 1.5], [2.5, 1.0, 1.5]]
    assert body.vectors.shape == (2, 2)


def test_too_few_matches_for_a_map():
    first = oracle(lambda places: places)
    with pytest.raises(ValueError, match="at least 4 matched points, got 2"):
        maps_between(first, first, MatchingSettings(body_points=1))


def row(vectors):
    """A body of one row of cells, 2 mm each along x."""
    fine = torch.nn.functional.normalize(torch.tensor(vectors).T, dim=0)[:, :, None, None]
    levels = {"fine": fine, "coarse": torch.ones(1, -(-len(vectors) // 4), 1, 1)}
    return body_of(DenseEmbedding(levels, (1.0, 1.0, 1.0)), torch.ones(2 * len(vectors), 2, 2))


@pytest.mark.parametrize(("cycle_mm", "kept_x_mm"), [(1.9, [0.5, 4.5]), (2.0, [0.5, 2.5, 4.5])])
def test_a_match_counts_if_matched_back_it_ends_near_enough(cycle_mm, kept_x_mm):
    """The second cell is most like the other body's first one, and that one is most like the first: 2 mm away."""
    first, second = row([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), row([[1.0, 0.0], [0.0, 1.0]])
    settings = MatchingSettings(body_points=3, match_cycle_mm=cycle_mm)
    matches = _cycle_matches(first, second, settings, np.random.default_rng(0))
    assert sorted(matches.places_mm[:, 0].tolist()) == kept_x_mm
    by_place = dict(zip(matches.places_mm[:, 0].tolist(), matches.matched_mm[:, 0].tolist(), strict=True))
    assert by_place[0.5] == 0.5 and by_place[4.5] == 2.5


def test_the_same_seed_gives_the_same_maps():
    first, second = oracle(lambda places: places), oracle(moved)
    one, same, other = (maps_between(first, second, MatchingSettings(60, seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.forward.matrix, same.forward.matrix) and one.similarity == same.similarity
    assert not np.array_equal(one.forward.matrix, other.forward.matrix)
