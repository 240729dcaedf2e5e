"""Matching with an oracle: embeddings that are a function of the true anatomical place."""

import numpy as np
import pytest
import torch

from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.registration.body import body_of
from scripts.registration.embedding_matching import (
    MatchingSettings,
    locate,
    maps_between,
    nearest_cells,
    nearest_matches,
)

SPACING_MM = np.array([4.0, 4.0, 4.0])
SHAPE = (48, 40, 32)
SETTINGS = MatchingSettings(body_points=600)


def oracle(to_anatomy, channels=48, seed=0):
    """A body whose cells hold waves of the anatomical place `to_anatomy(place_mm)`: near places, near vectors."""
    generator = np.random.default_rng(seed)
    waves = generator.normal(0, 1 / 25, (3, channels // 2))
    levels = {}
    for level, stride in (("fine", 2), ("coarse", 8)):
        axes = [np.arange(size // stride) * stride + (stride - 1) / 2 for size in SHAPE]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        phase = to_anatomy(voxels * SPACING_MM) @ waves
        cells = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1) / np.sqrt(channels / 2)
        levels[level] = torch.tensor(np.moveaxis(cells, -1, 0), dtype=torch.float32)
    return body_of(DenseEmbedding(levels, SHAPE), torch.ones(SHAPE), SPACING_MM)


def moved(places_mm):
    """Where a place of the second body lies in the first: 8 mm to the side, and 1.1 times as large."""
    return places_mm * 1.1 + [8.0, 0.0, -4.0]


PLACES_MM = np.random.default_rng(5).uniform(50, 90, (40, 3))


def test_an_oracle_embedding_gives_perfect_correspondence():
    first, second = oracle(lambda places: places), oracle(moved)
    maps = maps_between(first, second, SETTINGS)
    to_second = maps.forward
    assert maps.similarity > 0.9
    truth = (PLACES_MM - [8.0, 0.0, -4.0]) / 1.1
    assert np.linalg.norm(to_second(PLACES_MM) - truth, axis=1).max() < 6
    assert np.linalg.norm(maps.backward(truth) - PLACES_MM, axis=1).max() < 6
    found = locate(first, PLACES_MM, second, to_second, SETTINGS)
    half_cell_mm = 0.5 * 8 * np.sqrt(3)
    assert np.linalg.norm(found.places_mm - truth, axis=1).max() <= half_cell_mm + 0.5
    assert (found.similarity > 1.7).all() and (found.margin > 0.1).all()


def test_a_twin_far_away_is_not_taken():
    """Places 100 mm apart along x look the same: the map tells which one is meant, and the margin says it is close."""
    first = second = oracle(lambda places: places * [0, 1, 1] + (places % [100, 1e9, 1e9]) * [1, 0, 0])
    places = torch.tensor([[20.0, 80.0, 60.0], [120.0, 80.0, 60.0]])
    blind = nearest_matches(first.at(places), second, SETTINGS)
    assert (blind.margin < 0.05).all()
    guided = nearest_matches(first.at(places), second, SETTINGS, expected_mm=places + 5)
    assert np.abs(guided.places_mm - places.numpy()).max() <= 4.5
    assert (guided.margin > blind.margin + 0.2).all()


def test_prior_and_similarity_in_one_product_equal_their_sum():
    body, other = oracle(lambda places: places), oracle(moved)
    vectors, expected = other.vectors[::211], torch.tensor(moved(other.places_mm[::211].numpy())) + 9
    similarity = vectors @ body.vectors.T
    score = similarity - 0.2 * torch.cdist(expected.float(), body.places_mm) ** 2 / (2 * 25.0**2)
    assert nearest_cells(vectors, body, expected, 25.0, 0.2).tolist() == score.argmax(dim=1).tolist()
    assert nearest_cells(vectors, body).tolist() == similarity.argmax(dim=1).tolist()
    assert score.argmax(dim=1).tolist() != similarity.argmax(dim=1).tolist()


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
    body = body_of(DenseEmbedding(levels, SHAPE), mask, np.array([1.0, 2.0, 3.0]))
    assert body.places_mm.tolist() == [[0.5, 1.0, 1.5], [2.5, 1.0, 1.5]]


def test_too_few_points_that_return():
    first = oracle(lambda places: places)
    with pytest.raises(ValueError, match="at least 4 matched points, got 2"):
        maps_between(first, first, MatchingSettings(body_points=1))
