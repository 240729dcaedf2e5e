import numpy as np
import pytest

from scripts.pseudo_labels.em_posterior import em_posterior, likelihood, local_likelihood
from scripts.pseudo_labels.settings import EMSettings

SPACING_MM = (4.0, 4.0, 4.0)
SHAPE = (24, 12, 12)


def whole(**settings):
    """One histogram of the background."""
    return EMSettings(em_reach_mm=0.0, **settings)


def body_with_organ():
    """A bright organ at x 8..15 in darker tissue; probabilities lie two voxels too far along x, and are not sure."""
    image = np.full(SHAPE, 0.3, np.float32)
    image[8:16] = 0.7
    image += np.random.default_rng(0).normal(0, 0.02, SHAPE).astype(np.float32)
    organ = np.full(SHAPE, 0.05, np.float32)
    organ[10:18] = 0.7
    return image, np.stack([1 - organ, organ])


def test_intensities_move_the_border_to_where_it_is():
    image, probabilities = body_with_organ()
    posterior = em_posterior(image, probabilities, np.ones(SHAPE, bool), SPACING_MM, whole(em_rounds=5))
    assert posterior.sum(axis=0) == pytest.approx(1)
    inside = (posterior[1] > 0.5)[:, 6, 6]
    assert inside[10:15].all(), "where place and intensities agree"
    assert not inside[17:].any(), "the prior reaches into other tissue"
    assert probabilities[1, 17, 6, 6] == pytest.approx(0.7)


def test_without_rounds_probabilities_stay_and_outside_is_background():
    image, probabilities = body_with_organ()
    body = np.ones(SHAPE, bool)
    body[12:] = False
    posterior = em_posterior(image, probabilities, body, SPACING_MM, whole(em_rounds=0))
    assert np.array_equal(posterior[:, :12], probabilities[:, :12])
    assert (posterior[0, 12:] == 1).all() and (posterior[1, 12:] == 0).all()


def test_a_class_without_probability_stays_absent():
    image, probabilities = body_with_organ()
    absent = np.concatenate([probabilities, np.zeros((1, *SHAPE), np.float32)])
    posterior = em_posterior(image, absent, np.ones(SHAPE, bool), SPACING_MM, whole(em_rounds=3))
    assert (posterior[2] == 0).all()
    alone = np.stack([np.ones(SHAPE), np.zeros(SHAPE)])
    assert (em_posterior(image, alone, np.ones(SHAPE, bool), SPACING_MM, whole(em_rounds=2))[0] == 1).all()


def test_the_background_near_by_says_how_common_an_intensity_is():
    bins = np.zeros((60, 8, 8), dtype=int)
    bins[:30], bins[30:] = 10, 40
    near = local_likelihood(bins, np.ones(bins.shape), SPACING_MM, EMSettings(em_reach_mm=12.0))
    anywhere = likelihood(bins, np.ones(bins.shape), EMSettings())
    assert near[12, 4, 4] > 1.6 * anywhere[12, 4, 4], "away from the others, an intensity is more common than in all"
    assert near[47, 4, 4] > 1.6 * anywhere[47, 4, 4]
    assert near[29, 4, 4] == pytest.approx(anywhere[29, 4, 4], rel=0.25), "at their border both count"


def test_where_there_is_no_background_all_of_it_counts():
    bins, weights = np.full((80, 6, 6), 10), np.zeros((80, 6, 6))
    weights[:20] = 1
    bins[10:20] = 40
    near = local_likelihood(bins, weights, SPACING_MM, EMSettings(em_reach_mm=8.0))
    anywhere = likelihood(bins, weights, EMSettings())
    assert near[79, 3, 3] == pytest.approx(anywhere[79, 3, 3], rel=0.05)


def test_a_background_that_is_alike_everywhere_is_learnt_alike():
    random = np.random.default_rng(0)
    image = random.uniform(0.3, 0.5, (24, 24, 24)).astype(np.float32)
    image[8:16, 8:16, 8:16] += 0.3
    probabilities = np.zeros((2, 24, 24, 24), dtype=np.float32)
    probabilities[1, 6:18, 6:18, 6:18] = 0.5
    probabilities[0] = 1 - probabilities[1]
    body = np.ones((24, 24, 24), dtype=bool)
    once, near = (
        em_posterior(image, probabilities, body, SPACING_MM, EMSettings(em_rounds=2, em_reach_mm=reach_mm))
        for reach_mm in (0.0, 24.0)
    )
    assert ((once[1] > 0.5) == (near[1] > 0.5)).mean() > 0.995


def test_a_histogram_counts_weights_and_gives_every_intensity_its_floor():
    """Four bins, unsmoothed: weights 1 and 3, of 4; a floor of a tenth of the sum each, so of 5.6 in all."""
    bins = np.array([0, 2, 2]).reshape(3, 1, 1)
    settings = EMSettings(em_bins=4, em_histogram_smoothing_bins=1e-6, em_floor_share=0.1)
    weights = np.array([1.0, 1.0, 2.0]).reshape(3, 1, 1)
    assert likelihood(bins, weights, settings).ravel() == pytest.approx([1.4 / 5.6, 3.4 / 5.6, 3.4 / 5.6])


def test_intensities_far_from_the_classes_are_not_learnt():
    """Background as bright as the organ, more than 16 mm away: learnt, it makes brightness less the organ's own."""
    image, probabilities = body_with_organ()
    image[:6] = image[22:] = 0.7  # probabilities exceed 0.1 at x 10..17, of 4 mm each
    body = np.ones(SHAPE, bool)
    far, near = (
        em_posterior(image, probabilities, body, SPACING_MM, whole(em_rounds=1, em_near_mm=limit_mm))[1, 12, 6, 6]
        for limit_mm in (100.0, 16.0)
    )
    assert near > far
