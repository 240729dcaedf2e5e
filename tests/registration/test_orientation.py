"""Turned bodies: landmarks so few that fits can be checked by hand, an untrained network, and real CT."""

from itertools import combinations

import numpy as np
import pytest
import torch

from bundle.benchmark.cost.limits import cached
from bundle.datasets.dataset import read_dataset
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.data.cached_volume import CachedVolume
from scripts.data.intensity import normalise_hu
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import load_embedding
from scripts.registration.body import embed_body
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import (
    AS_IT_IS,
    ORIENTATIONS,
    Landmarks,
    OrientationSettings,
    affine_fit,
    affine_fits,
    draw_landmarks,
    landmarks_by_orientation,
    reversed_along,
    turned,
)
from tests.embedding_fixtures import oracle, write_embedding
from tests.fixtures.real_data import data
from tests.prnet_fixtures import SPACING_MM, phantom

MATCHING, SETTINGS, WINDOWS = MatchingSettings(), OrientationSettings(), WindowSettings()
LENIENT = OrientationSettings(least_gain=1.1, least_difference=0.03)
# Corners of a box of 20, 60 and 100 mm, and vectors of which no two are alike.
CORNERS_MM = torch.tensor([[x, y, z] for x in (0.0, 20.0) for y in (0.0, 60.0) for z in (0.0, 100.0)])
APART = torch.eye(8)


def test_every_orientation_is_there_once():
    subsets = [axes for count in range(4) for axes in combinations(range(3), count)]
    assert sorted(ORIENTATIONS.values()) == sorted(subsets) and ORIENTATIONS[AS_IT_IS] == ()
    kinds = {len(axes): words.split()[0] for words, axes in ORIENTATIONS.items() if axes}
    assert kinds == {1: "mirrored", 2: "turned", 3: "mirrored"}, "two mirrors make a turn"


def test_image_and_body_are_reversed_along_the_same_axes():
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    volume = CachedVolume(image, image[0] > 11, np.diag([1.0, 2.0, 3.0, 1.0]))
    other = reversed_along(volume, (0, 2))
    assert other.image[0, 0, 1, 0] == image[0, 1, 1, 3] and other.body[0, 1, 0] and not other.body[1, 1, 0]
    assert torch.equal(reversed_along(other, (0, 2)).image, image)
    assert reversed_along(volume, ()).image.tolist() == image.tolist()


def test_all_landmarks_fit_where_each_finds_itself():
    moved = Landmarks(CORNERS_MM * 1.2 + 7, APART)
    assert affine_fit(Landmarks(CORNERS_MM, APART), moved, MATCHING) == pytest.approx(1, abs=1e-9)


def test_a_landmark_that_returns_elsewhere_does_not_count():
    """The second body lacks the first corner's vector and shows another's twice: 7 + 7 of 16 landmarks return."""
    vectors = APART.clone()
    vectors[0] = 0.99 * APART[7]
    other = Landmarks(CORNERS_MM, vectors)
    assert affine_fit(Landmarks(CORNERS_MM, APART), other, MATCHING) == pytest.approx(14 / 16, abs=1e-6)


def test_weights_are_squared_cosines():
    other = Landmarks(CORNERS_MM, 0.5 * APART)
    assert affine_fit(Landmarks(CORNERS_MM, APART), other, MATCHING) == pytest.approx(0.25, abs=1e-6)


def test_a_match_far_from_where_the_map_puts_it_hardly_counts():
    """Of 17 landmarks one lies 1000 mm away in the other body."""
    places = torch.cat([CORNERS_MM, CORNERS_MM + 200, torch.tensor([[50.0, 50.0, 50.0]])])
    matched = places.clone()
    matched[-1, 0] += 1000
    fit = affine_fit(Landmarks(places, torch.eye(17)), Landmarks(matched, torch.eye(17)), MATCHING)
    assert fit == pytest.approx(16 / 17, abs=2e-3)


def test_without_matches_nothing_fits():
    nowhere = MatchingSettings(match_cycle_mm=-1.0)
    landmarks = Landmarks(CORNERS_MM, APART)
    assert affine_fit(landmarks, landmarks, nowhere) == 0.0


@pytest.mark.parametrize(
    ("as_it_is", "mirrored", "expected"),
    [
        (0.4, 0.1, None),
        (0.4, 0.43, None),
        (0.4, 0.45, "mirrored left to right"),
        (0.04, 0.06, None),
        (0.04, 0.08, "mirrored left to right"),
        (0.0, 0.0, None),
    ],
)
def test_a_body_is_turned_if_that_fits_so_many_times_and_so_much_better(as_it_is, mirrored, expected):
    fits = dict.fromkeys(ORIENTATIONS, 0.0) | {AS_IT_IS: as_it_is, "mirrored left to right": mirrored}
    assert turned(fits, LENIENT) == expected


def test_of_a_symmetric_body_a_turn_is_likelier_than_a_mirror_image():
    turn, image = "turned by 180 degrees about the feet-head axis", "mirrored back to front"
    fits = dict.fromkeys(ORIENTATIONS, 0.1)
    assert turned(fits | {turn: 0.46, image: 0.5}, LENIENT) == turn
    assert turned(fits | {turn: 0.45, image: 0.5}, LENIENT) == image


def test_landmarks_are_random_cells_and_the_same_every_time():
    body = oracle(lambda places: places)
    once, again = draw_landmarks(body, 100), draw_landmarks(body, 100)
    assert torch.equal(once.places_mm, again.places_mm) and len(once.places_mm.unique(dim=0)) == 100
    assert torch.equal(once.vectors, body.at(once.places_mm))
    assert len(draw_landmarks(body, 10**6).places_mm) == len(body.cells)


@pytest.mark.parametrize("words", ORIENTATIONS)
def test_an_untrained_network_tells_how_a_phantom_is_turned(words, tmp_path_factory):
    trained = load_embedding(write_embedding(tmp_path_factory.mktemp("embedding")))
    hu = phantom(0)
    volume = CachedVolume(torch.from_numpy(normalise_hu(hu))[None], torch.from_numpy(hu > -500), np.eye(4))
    support = landmarks_by_orientation(trained, volume, embed_body(trained, volume, WINDOWS), WINDOWS, SETTINGS)
    query = embed_body(trained, reversed_along(volume, ORIENTATIONS[words]), WINDOWS)
    fits = affine_fits(support, query, MATCHING, SETTINGS)
    assert set(fits) == set(ORIENTATIONS) and trained.spacing_mm == SPACING_MM
    assert fits[words] == pytest.approx(4, abs=1e-4), "every cell finds itself, with a cosine of 1 at both levels"
    assert turned(fits, SETTINGS) == (None if words == AS_IT_IS else words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cohort", "seen"),
    [
        ("abdomen_ct", [words for words in ORIENTATIONS if words != "mirrored left to right"]),
        ("headneck_ct", [AS_IT_IS, *(words for words, axes in ORIENTATIONS.items() if len(axes) == 2)]),
    ],
)
def test_real_bodies_are_recognised_however_they_are_turned(cohort, seen):
    """Left-right mirrors are not always seen, and others may be called by the turn that looks like them."""
    dataset = read_dataset(data(cohort))
    trained = load_embedding(BUNDLE_ROOT / "models" / cohort / "embedding")
    support, query = (cached(dataset.image(case), trained.spacing_mm) for case in (dataset.support, dataset.test[0]))
    body = embed_body(trained, support, WINDOWS)
    orientations = landmarks_by_orientation(trained, support, body, WINDOWS, SETTINGS)
    for words in seen:
        body = embed_body(trained, reversed_along(query, ORIENTATIONS[words]), WINDOWS)
        found = turned(affine_fits(orientations, body, MATCHING, SETTINGS), SETTINGS)
        assert (found is None) == (words == AS_IT_IS), words
        assert len(ORIENTATIONS[words]) != 2 or found == words, "a turn is called by its name, a mirror image maybe not"
