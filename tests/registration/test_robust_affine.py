import numpy as np
import pytest

from scripts.registration.robust_affine import AffineMap, RobustFit, fit_affine_map

AFFINE = np.array([[1.1, 0.1, 0.0], [-0.1, 0.9, 0.0], [0.0, 0.05, 1.2]])
SHIFT_MM = np.array([30.0, -20.0, 200.0])


def bodies(count=400, seed=0):
    places = np.random.default_rng(seed).uniform(-150, 150, (count, 3))
    return places, places @ AFFINE.T + SHIFT_MM


def test_a_map_by_hand():
    turn = np.array([[0.0, -1, 0], [2, 0, 0], [0, 0, 1]])
    assert AffineMap(turn, np.array([1.0, 2, 3]))(np.array([[10, 20, 30]])).tolist() == [[-19, 22, 33]]


def test_an_affine_map_is_found_exactly():
    places, matched = bodies()
    fitted = fit_affine_map(places, matched)
    assert fitted.matrix == pytest.approx(AFFINE) and fitted.shift_mm == pytest.approx(SHIFT_MM)
    assert fitted(places[:7] + 5) == pytest.approx((places[:7] + 5) @ AFFINE.T + SHIFT_MM)


def test_a_third_of_wrong_matches_changes_little():
    places, matched = bodies()
    wrong = np.random.default_rng(1).permutation(400)[:130]
    matched[wrong] = np.random.default_rng(2).uniform(-150, 150, (130, 3)) + SHIFT_MM
    right = np.setdiff1d(np.arange(400), wrong)

    def error_mm(fit):
        return np.linalg.norm(fit_affine_map(places, matched, fit=fit)(places[right]) - matched[right], axis=1)

    assert np.median(error_mm(RobustFit())) < 3 and error_mm(RobustFit()).max() < 8
    everything_counts = RobustFit(scale_mm=1e6, first_scale_mm=1e6)
    assert np.median(error_mm(everything_counts)) > 20, "least squares: what the weights are for"


def test_a_match_that_is_not_believed_counts_nothing():
    places, matched = bodies(100)
    matched[50:] += 40
    weights = np.repeat([1.0, 0.0], 50)
    assert fit_affine_map(places, matched, weights)(places) == pytest.approx(places @ AFFINE.T + SHIFT_MM)


def test_the_scale_shrinks_to_the_last_one():
    """Two rounds: the second one has the scale 4 * 0.5 = 2 mm, not 4 mm, and not less than the last scale."""
    places, matched = bodies(50)
    matched[:20] += [30.0, 0, 0]
    by = {
        scale: fit_affine_map(places, matched, fit=RobustFit(*scale, 2)) for scale in ((1.0, 4.0, 0.5), (2.0, 4.0, 0.1))
    }
    first, second = by.values()
    assert np.array_equal(first.matrix, second.matrix)
    assert not np.array_equal(first.matrix, fit_affine_map(places, matched, fit=RobustFit(3.0, 4.0, 0.5, 2)).matrix)


def test_too_few_matches():
    with pytest.raises(ValueError, match="at least 4 matched points, got 3"):
        fit_affine_map(np.zeros((3, 3)), np.zeros((3, 3)))
