import numpy as np
import pytest

from scripts.registration.robust_affine import fit_affine_map

AFFINE = np.array([[1.1, 0.1, 0.0], [-0.1, 0.9, 0.0], [0.0, 0.05, 1.2]])
SHIFT_MM = np.array([30.0, -20.0, 200.0])


def bodies(count=400, seed=0):
    places = np.random.default_rng(seed).uniform(-150, 150, (count, 3))
    return places, places @ AFFINE.T + SHIFT_MM


@pytest.mark.parametrize("width_mm", [None, 40.0])
def test_an_affine_map_is_found_exactly(width_mm):
    places, matched = bodies()
    found = fit_affine_map(places, matched, width_mm=width_mm)
    assert found.matrix == pytest.approx(AFFINE) and found.shift_mm == pytest.approx(SHIFT_MM)
    assert found(places[:7] + 5) == pytest.approx((places[:7] + 5) @ AFFINE.T + SHIFT_MM)


def test_a_third_of_wrong_matches_changes_little():
    places, matched = bodies()
    wrong = np.random.default_rng(1).permutation(400)[:130]
    matched[wrong] = np.random.default_rng(2).uniform(-150, 150, (130, 3)) + SHIFT_MM
    right = np.setdiff1d(np.arange(400), wrong)
    error_mm = np.linalg.norm(fit_affine_map(places, matched, width_mm=60.0)(places[right]) - matched[right], axis=1)
    assert np.median(error_mm) < 3 and error_mm.max() < 20


def test_what_moves_together_is_followed():
    """An organ that lies 12 mm lower than the affine map says."""
    places, matched = bodies(2000)
    organ = np.linalg.norm(places - [80, 0, 0], axis=1) < 60
    matched[organ] += [0, 0, -12]
    found = fit_affine_map(places, matched, width_mm=25.0)
    centre = np.array([[80.0, 0, 0]])
    assert found(centre)[0] == pytest.approx((centre @ AFFINE.T + SHIFT_MM)[0] + [0, 0, -12], abs=2.5)
    assert found(-centre)[0] == pytest.approx((-centre @ AFFINE.T + SHIFT_MM)[0], abs=1.0)


def test_a_match_that_is_not_believed_counts_nothing():
    places, matched = bodies(100)
    matched[50:] += 40
    weights = np.repeat([1.0, 0.0], 50)
    found = fit_affine_map(places, matched, weights, width_mm=50.0)
    assert found(places) == pytest.approx(places @ AFFINE.T + SHIFT_MM)


def test_far_from_every_match_the_affine_part_decides():
    places, matched = bodies(400)
    matched[places[:, 0] > 0] += [0, 0, 5]
    found = fit_affine_map(places, matched, width_mm=20.0)
    away = np.array([[1000.0, 0, 0]])
    assert found(away) == pytest.approx(away @ found.matrix.T + found.shift_mm)


def test_too_few_matches():
    with pytest.raises(ValueError, match="at least 4 matched points, got 3"):
        fit_affine_map(np.zeros((3, 3)), np.zeros((3, 3)))
