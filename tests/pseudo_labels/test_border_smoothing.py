import numpy as np
import pytest

from scripts.common.overlap import dice_of
from scripts.pseudo_labels.border_smoothing import smoothed_shares

SPACING_MM = (2.0, 2.0, 4.0)


def ball(radius_mm, shape=(40, 40, 20)):
    places = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1) * SPACING_MM
    return np.linalg.norm(places - np.array(shape) * SPACING_MM / 2, axis=-1) <= radius_mm


def smoothed(label, seeds=None, width_mm=4.0):
    seeds = np.zeros((label.max() + 1, *label.shape), dtype=bool) if seeds is None else seeds
    return smoothed_shares(label, seeds, SPACING_MM, width_mm, 0.25).argmax(axis=0)


def test_fingers_go_and_the_organ_stays():
    truth = ball(24.0)
    noisy = truth.copy()
    noisy[32:38, 20, 10] = True
    noisy[6:12, 20, 10] = False
    noisy[20:24, 20, 10] = False
    label = smoothed(noisy.astype(np.uint8))
    assert not label[34:38, 20, 10].any(), "a finger"
    assert label[9:12, 20, 10].all() and label[20:24, 20, 10].all(), "a notch and a hole"
    assert dice_of(label == 1, truth) > 0.95
    assert 0.9 < label.sum() / truth.sum() < 1, "a ball of radius r loses about width^2 / r of it"


def test_a_flat_border_does_not_move():
    label = np.zeros((20, 20, 10), dtype=np.uint8)
    label[:8] = 1
    np.testing.assert_array_equal(smoothed(label), label)


@pytest.mark.parametrize("inside", [0, 1])
def test_thin_organs_stay_inside_others_too(inside):
    label = np.zeros((40, 40, 20), dtype=np.uint8)
    label[4:36, 4:36] = inside
    label[19:21, 19:21] = 2
    shares = smoothed_shares(label, np.zeros((3, *label.shape), dtype=bool), SPACING_MM, 8.0, 0.25)
    assert (shares.argmax(axis=0)[19:21, 19:21, 2:-2] == 2).all()
    assert shares.min() >= 0 and shares.max() <= 1


def test_a_small_ball_keeps_most_of_itself():
    truth = ball(6.0)
    assert smoothed(truth.astype(np.uint8), width_mm=8.0).sum() > 0.75 * truth.sum()


def test_seeds_keep_their_class():
    label = ball(24.0).astype(np.uint8)
    seeds = np.zeros((2, *label.shape), dtype=bool)
    seeds[1, 36, 20, 10] = seeds[0, 20, 20, 10] = True
    shares = smoothed_shares(label, seeds, SPACING_MM, 4.0, 0.25)
    assert shares[:, 36, 20, 10].tolist() == [0.0, 1.0] and shares[:, 20, 20, 10].tolist() == [1.0, 0.0]


def test_a_class_that_is_nowhere_has_no_share():
    shares = smoothed_shares(ball(24.0).astype(np.uint8), np.zeros((3, 40, 40, 20), dtype=bool), SPACING_MM, 4.0, 0.25)
    assert not shares[2].any()
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-6)
