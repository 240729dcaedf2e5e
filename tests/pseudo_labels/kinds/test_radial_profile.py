import numpy as np
import pytest

from scripts.pseudo_labels.kinds.radial_profile import alike_range, inside_share, radial_profile

SPACING_MM = (1.0, 1.0, 4.0)


def plane_of(radius_mm, outside_alike):
    """A disc of a radius around the one stroke; of what is outside a share looks alike, evenly."""
    x, y = np.ogrid[-30:31, -30:31]
    disc = x**2 + y**2 <= radius_mm**2
    chance = ((x + y) % 10) < 10 * outside_alike
    strokes = np.zeros((61, 61, 1), dtype=bool)
    strokes[30, 30] = True
    return (disc | chance)[:, :, None], strokes


@pytest.mark.parametrize("outside_alike", [0.0, 0.4])
@pytest.mark.parametrize("radius_mm", [5.0, 10.0])
def test_the_reach_is_where_what_looks_alike_ends(radius_mm, outside_alike):
    profile = radial_profile(*plane_of(radius_mm, outside_alike), SPACING_MM, limit_mm=25.0)
    assert profile.reach_mm == pytest.approx(radius_mm, rel=0.15)
    assert profile.outside_share == pytest.approx(outside_alike, abs=0.06)


def test_where_all_looks_alike_the_outside_does():
    alike, strokes = plane_of(5.0, 1.0)
    assert radial_profile(alike, strokes, SPACING_MM, limit_mm=25.0).outside_share > 0.9


def test_at_its_reach_half_is_inside():
    np.testing.assert_allclose(inside_share(np.array([0.0, 3.0, np.inf]), 3.0), [0.982, 0.5, 0.0], atol=0.001)


def test_what_looks_like_strokes_is_half_a_deviation_wider():
    assert alike_range(np.array([0.5, 0.5, 0.5]), 0.1) == pytest.approx((0.45, 0.55))
    values = np.linspace(0.0, 1.0, 101)
    assert alike_range(values, 0.1) == pytest.approx((0.02 - values.std() / 2, 0.98 + values.std() / 2))
