"""The first round's core with oracle embeddings: no files, no network."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.common.affines import to_voxels
from scripts.data.cached_volume import CachedVolume
from scripts.data.records import KEPT
from scripts.data.scribbles import ScribblePoints
from scripts.label_propagation.atlas import Atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.propagate_case import (
    FirstRoundSettings,
    KeepingRule,
    PropagatedSupport,
    propagate_case,
    propagate_home,
)
from scripts.points.denoising import COLLISION, CYCLE, TISSUE
from scripts.registration.body import body_of
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import AS_IT_IS, ORIENTATIONS, draw_landmarks
from tests.embedding_fixtures import CENTRES_MM, SHAPE, SHIFT_MM, SPACING_MM, dice, oracle, shares

CLASSES = {"liver": 3, "spleen": 5}
AFFINE = np.array([[-4.0, 0, 0, 100], [0, 4, 0, -30], [0, 0, 4, 7], [0, 0, 0, 1]])
QUERY_AFFINE = np.array([[-4.0, 0, 0, 60], [0, 4, 0, -10], [0, 0, 4, 90], [0, 0, 0, 1]])
# Two voxels in each ball, and one of background.
VOXELS = np.array([[14, 20, 18], [16, 20, 18], [32, 20, 15], [33, 20, 15], [24, 35, 20]])
LABELS = np.array([3, 3, 5, 5, 0])


def volume(affine, organs):
    """An image whose organs are 0.5 and 0.7, in fat of 0.2."""
    image = np.full(SHAPE, 0.2) + 0.3 * organs[1] + 0.5 * organs[2]
    return CachedVolume(torch.from_numpy(image.astype(np.float32))[None], torch.ones(SHAPE, dtype=torch.bool), affine)


ORGANS = shares(CENTRES_MM)
QUERY_ORGANS = shares(CENTRES_MM - SHIFT_MM)
QUERY = volume(QUERY_AFFINE, QUERY_ORGANS), oracle(lambda places: places + SHIFT_MM)


def support(with_mask=True):
    scribbles = ScribblePoints(LABELS, VOXELS, VOXELS @ AFFINE[:3, :3].T + AFFINE[:3, 3])
    image, body = volume(AFFINE, ORGANS), oracle(lambda places: places)
    atlas = Atlas(image, body, ORGANS) if with_mask else None
    return PropagatedSupport(image, body, scribbles, CLASSES, orientations(), atlas)


def orientations():
    """An oracle knows a turned body by waves of its own, as a network does that never saw one."""
    bodies = {words: oracle(lambda places: places, seed=seed) for seed, words in enumerate(ORIENTATIONS)}
    return {words: draw_landmarks(body, 400) for words, body in bodies.items()}


def settings(**keeping):
    transfer = TransferSettings(transfer_temperature=0.02, warped_share=0.0)
    return FirstRoundSettings(matching=MatchingSettings(600), transfer=transfer, keeping=KeepingRule(**keeping))


def propagated(query=QUERY, with_mask=True, **keeping):
    return propagate_case(support(with_mask), *query, settings(**keeping))


def test_points_arrive_where_the_oracle_says():
    points = propagated().points
    expected = VOXELS - SHIFT_MM / SPACING_MM
    assert np.abs(to_voxels(points.located_mm, QUERY_AFFINE) - expected).max() <= 1.5, "cells are two voxels wide"
    assert points.working_voxels.tolist() == np.rint(to_voxels(points.located_mm, QUERY_AFFINE)).tolist()
    assert points.kept.all() and points.labels.tolist() == LABELS.tolist()
    assert set(points.evidence) == {"cycle_mm", "affine_mm", "margin", "tissue_misfit"}
    assert (points.scores == points.similarities["joined"]).all() and (points.scores <= 1.0001).all()


def test_labels_arrive_and_return():
    result = propagated()
    assert result.similarity > 0.9 and result.probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert all(dice(result.probabilities[n] > 0.5, QUERY_ORGANS[n] > 0.5) > 0.85 for n in (1, 2))
    assert set(result.round_trip_dice) == set(CLASSES) and min(result.round_trip_dice.values()) > 0.9


@pytest.mark.parametrize("with_mask", [True, False])
def test_a_turned_body_is_told_by_the_support_turned_alike(with_mask):
    turned = {
        words: propagated((QUERY[0], oracle(lambda places: places + SHIFT_MM, seed=seed)), with_mask).turned
        for seed, words in enumerate(ORIENTATIONS)
    }
    assert turned == {words: None if words == AS_IT_IS else words for words in ORIENTATIONS}
    assert propagate_home(support()).turned is None


def test_without_a_support_mask_points_alone_are_sent():
    result = propagated(with_mask=False)
    assert result.probabilities is None and result.round_trip_dice == {}
    assert result.points.located_mm.tolist() == propagated().points.located_mm.tolist()


def test_a_point_that_returns_elsewhere_is_dropped():
    assert set(propagated(with_mask=False, point_cycle_mm=-1.0).points.reasons) == {CYCLE}


def test_a_point_in_other_tissue_is_dropped_but_for_background():
    """The query's organs look like lung: 0.05 where the strokes are 0.5 and 0.7."""
    image = volume(QUERY_AFFINE, QUERY_ORGANS).image * 0 + 0.05
    query = CachedVolume(image, QUERY[0].body, QUERY_AFFINE), QUERY[1]
    assert propagated(query, with_mask=False).points.reasons.tolist() == [TISSUE] * 4 + [KEPT]
    assert propagated(query, with_mask=False, tissue_tolerance=None).points.kept.all()


def test_of_two_classes_in_one_voxel_one_stays():
    """The last stroke of the liver lies where the spleen's first does."""
    twice = VOXELS.copy()
    twice[1] = twice[2]
    scribbles = ScribblePoints(LABELS, twice, twice @ AFFINE[:3, :3].T + AFFINE[:3, 3])
    one = support(with_mask=False)
    both = replace(one, scribbles=scribbles)
    reasons = propagate_case(both, *QUERY, settings(tissue_tolerance=None)).points.reasons
    assert sorted(reasons[1:3]) == [KEPT, COLLISION]


def test_at_home_everything_is_as_it_is():
    result = propagate_home(support())
    assert result.points.located_mm.tolist() == support().scribbles.world_mm.tolist() and result.points.kept.all()
    assert result.points.working_voxels.tolist() == VOXELS.tolist()
    assert np.array_equal(result.probabilities, ORGANS) and result.similarity == 1.0
    assert result.round_trip_dice == {"liver": 1.0, "spleen": 1.0}
    assert propagate_home(support(with_mask=False)).probabilities is None


@pytest.mark.parametrize("tissue", [True, False])
def test_a_body_with_nothing_in_common_gets_background_alone(tissue):
    """No match comes back near enough; or there is no tissue, so nothing to match."""
    query = oracle(lambda places: places, seed=1)
    if not tissue:
        query = body_of(query.embedding, torch.zeros(SHAPE))
    few = FirstRoundSettings(matching=MatchingSettings(20, match_cycle_mm=-1.0 if tissue else 24.0))
    result = propagate_case(support(), QUERY[0], query, few)
    assert len(result.points) == 0 and result.similarity == 0.0
    assert result.probabilities.shape == (3, *SHAPE) and result.probabilities.dtype == np.float32
    assert (result.probabilities[0] == 1).all() and not result.probabilities[1:].any()
    assert result.round_trip_dice == {"liver": 0.0, "spleen": 0.0}
    alone = propagate_case(support(with_mask=False), QUERY[0], query, few)
    assert alone.probabilities is None and alone.round_trip_dice == {} and len(alone.points) == 0


def test_a_body_without_room_for_a_rival_has_finite_evidence():
    """Its 4 x 4 x 4 cells of 8 mm are nowhere more than 40 mm apart."""
    mask = torch.zeros(SHAPE)
    mask[14:22, 16:24, 14:22] = 1
    result = propagate_case(support(), QUERY[0], body_of(QUERY[1].embedding, mask), settings())
    assert np.isfinite(result.points.evidence["margin"]).all()
    json.dumps(result.points.to_json(), allow_nan=False)
