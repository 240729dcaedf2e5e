"""Which parts of what is tissue are body: both legs and an arm, no table."""

import numpy as np
import pytest

from scripts.data.intensity import body_mask, find_body

SHAPE = (90, 60, 12)
SPACING_MM = (4.0, 4.0, 4.0)


def disc(x, y, radius):
    return np.hypot(*(np.indices(SHAPE)[:2] - np.array([x, y])[:, None, None, None])) < radius


def scan(tissue):
    return np.where(tissue, 40.0, -1000.0) + np.random.default_rng(0).normal(0, 10, SHAPE)


@pytest.mark.parametrize("radius", [14, 7])
def test_a_second_leg_and_an_arm_apart_are_body(radius):
    one, other = disc(25, 30, 15), disc(65, 30, radius)
    found = find_body(scan(one | other), SPACING_MM)
    assert found.mask[one].mean() > 0.95 and found.mask[other].mean() > 0.9
    assert found.mask[~one & ~other].mean() < 0.01 and not found.remarks


def test_a_table_apart_is_no_body_however_large():
    table = np.zeros(SHAPE, bool)
    table[2:88, 4:8] = True
    assert not find_body(scan(disc(45, 35, 15) | table), SPACING_MM).mask[table].any()


def test_air_between_two_parts_stays_outside():
    x, y, _ = np.indices(SHAPE)
    left = disc(40, 30, 20) & ~disc(40, 30, 12) & (x < 40)
    right = disc(40, 30, 20) & ~disc(40, 30, 12) & (x >= 40)
    cut = np.abs(y - 30 - (x - 40)) > 2
    mask = body_mask(scan((left | right) & cut), SPACING_MM)
    assert not mask[disc(40, 30, 9)].any()


def test_what_is_too_small_to_be_body_is_left_out_and_told():
    body, lump = disc(25, 30, 22), disc(75, 30, 4)
    found = find_body(scan(body | lump), SPACING_MM)
    assert not found.mask[lump].any()
    (sentence,) = found.remarks
    assert "ml of tissue apart from the body" in sentence
