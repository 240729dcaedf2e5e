import numpy as np
import pytest

from scripts.pseudo_labels.em_posterior import _likelihood, _local_likelihood, em_posterior

SPACING_MM = (4.0, 4.0, 4.0)
SHAPE = (24, 12, 12)


def body_with_organ():
    """A bright organ at x 8..15 in darker tissue; the votes lie two voxels too far along x, and are not sure."""
    image = np.full(SHAPE, 0.3, np.float32)
    image[8:16] = 0.7
    image += np.random.default_rng(0).normal(0, 0.02, SHAPE).astype(np.float32)
    organ = np.full(SHAPE, 0.05, np.float32)
    organ[10:18] = 0.7
    return image, np.stack([1 - organ, organ])


def test_intensities_move_the_border_to_where_it_is():
    image, probabilities = body_with_organ()
    found = em_posterior(image, probabilities, np.ones(SHAPE, bool), SPACING_MM, rounds=5)
    assert found.sum(axis=0) == pytest.approx(1)
    inside = (found[1] > 0.5)[:, 6, 6]
    assert inside[10:15].all(), "where votes and intensities agree"
    assert not inside[17:].any(), "the votes reach into other tissue"
    assert probabilities[1, 17, 6, 6] == pytest.approx(0.7)


def test_without_rounds_votes_stay_and_outside_is_background():
    image, probabilities = body_with_organ()
    body = np.ones(SHAPE, bool)
    body[12:] = False
    found = em_posterior(image, probabilities, body, SPACING_MM, rounds=0)
    assert np.array_equal(found[:, :12], probabilities[:, :12])
    assert (found[0, 12:] == 1).all() and (found[1, 12:] == 0).all()


def test_a_class_without_votes_stays_absent():
    image, probabilities = body_with_organ()
    silent = np.concatenate([probabilities, np.zeros((1, *SHAPE), np.float32)])
    found = em_posterior(image, silent, np.ones(SHAPE, bool), SPACING_MM, rounds=3)
    assert (found[2] == 0).all()
    alone = np.stack([np.ones(SHAPE), np.zeros(SHAPE)])
    assert (em_posterior(image, alone, np.ones(SHAPE, bool), SPACING_MM, 2)[0] == 1).all()


def test_the_background_near_by_says_how_common_an_intensity_is():
    bins = np.zeros((60, 8, 8), dtype=int)
    bins[:30], bins[30:] = 10, 40
    near = _local_likelihood(bins, np.ones(bins.shape), (4.0, 4.0, 4.0), reach_mm=12.0)
    whole = _likelihood(bins, np.ones(bins.shape))
    assert near[12, 4, 4] > 1.6 * whole[12, 4, 4], "away from the others, an intensity is more common than in all"
    assert near[47, 4, 4] > 1.6 * whole[47, 4, 4]
    assert near[29, 4, 4] == pytest.approx(whole[29, 4, 4], rel=0.25), "at their border both count"


def test_where_there_is_no_background_all_of_it_speaks():
    bins, weights = np.full((80, 6, 6), 10), np.zeros((80, 6, 6))
    weights[:20] = 1
    bins[10:20] = 40
    near = _local_likelihood(bins, weights, (4.0, 4.0, 4.0), reach_mm=8.0)
    assert near[79, 3, 3] == pytest.approx(_likelihood(bins, weights)[79, 3, 3], rel=0.05)


def test_a_background_that_is_alike_everywhere_is_learnt_alike():
    random = np.random.default_rng(0)
    image = random.uniform(0.3, 0.5, (24, 24, 24)).astype(np.float32)
    image[8:16, 8:16, 8:16] += 0.3
    probabilities = np.zeros((2, 24, 24, 24), dtype=np.float32)
    probabilities[1, 6:18, 6:18, 6:18] = 0.5
    probabilities[0] = 1 - probabilities[1]
    body = np.ones((24, 24, 24), dtype=bool)
    whole, near = (em_posterior(image, probabilities, body, (4.0, 4.0, 4.0), 2, reach) for reach in (0.0, 24.0))
    assert ((whole[1] > 0.5) == (near[1] > 0.5)).mean() > 0.995
