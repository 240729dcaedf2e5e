"""Probabilities brought to given volumes; (1 + K, N, 1, 1), so that sums can be checked by hand."""

import numpy as np
import pytest

from scripts.segmentation.ensemble.volume_matching import LEAST_BACKGROUND, with_volumes


def maps(*classes):
    """Background is the rest."""
    voxels = np.array(classes, dtype=float)[:, :, None, None]
    return np.concatenate([1 - voxels.sum(axis=0, keepdims=True), voxels])


def odds(probabilities, k=1):
    return (probabilities[k] / probabilities[0]).ravel()


def test_a_class_has_the_volume_that_is_asked_for_and_odds_change_by_one_factor():
    before = maps([0.9, 0.8, 0.6, 0.5, 0.0])
    found = with_volumes(before, [1.0])
    assert found[1].sum() == pytest.approx(1.0, rel=0.01) and found.sum(axis=0) == pytest.approx(np.ones((5, 1, 1)))
    factors = odds(found)[:4] / odds(before)[:4]
    assert factors == pytest.approx([factors[0]] * 4, rel=1e-4) and factors[0] < 0.2
    assert found[:, 4].ravel().tolist() == [1.0, 0.0], "nothing comes from nothing"


def test_classes_that_share_voxels_reach_their_volumes_together():
    found = with_volumes(maps([0.6, 0.5, 0.3, 0.1, 0.1], [0.3, 0.4, 0.6, 0.6, 0.2]), [1.5, 0.5])
    assert found[1:].sum(axis=(1, 2, 3)) == pytest.approx([1.5, 0.5], rel=0.01)


def test_right_volumes_change_nothing():
    before = maps([0.8, 0.5, 0.2], [0.1, 0.2, 0.3])
    assert with_volumes(before, [1.5, 0.6]) == pytest.approx(before, abs=1e-6)


def test_a_stored_certainty_can_be_lowered():
    found = with_volumes(maps([1.0] * 100), [50.0])
    assert found[1] == pytest.approx(np.full((100, 1, 1), 0.5), abs=0.01), f"background {LEAST_BACKGROUND} at least"


def test_what_is_nowhere_stays_nowhere():
    nothing = with_volumes(maps([0.0, 0.0], [0.5, 0.0]), [1.0, 0.0])
    assert not nothing[1:].any() and nothing[0].ravel().tolist() == [1.0, 1.0], "neither network nor atlases"
