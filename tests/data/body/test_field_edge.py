"""Lung that the field's edge cuts is body; what lies in the air is not."""

import numpy as np
import pytest

from scripts.data.intensity import BodySelector, body_mask, normalise_hu

SHAPE = (90, 70, 12)  # of 4 mm
X, Y, _ = np.indices(SHAPE) - np.array([45, 35, 0])[:, None, None, None]
BODY = (X / 42) ** 2 + (Y / 30) ** 2 <= 1
LEFT, RIGHT = (((X - side) / 15) ** 2 + (Y / 22) ** 2 <= 1 for side in (-20, 20))
WALL_FIRST = 9  # where one voxel of chest wall is left beside the left lung


def chest(outside=-1000.0, lung=-850.0):
    hu = np.select([LEFT | RIGHT, BODY], [lung, 40.0], outside)
    return hu + np.random.default_rng(0).normal(0, 10, SHAPE)


@pytest.mark.parametrize(
    "field",
    [
        (slice(22, 68), slice(12, 58)),
        (slice(12, 78), slice(8, 62)),
        (slice(10, 45), slice(13, 57)),
        (slice(WALL_FIRST, None), slice(None)),
        (slice(WALL_FIRST + 3, None), slice(None)),
    ],
    ids=["heart", "both lungs, cut", "one lung", "4 mm of wall", "patient off centre"],
)
@pytest.mark.parametrize("lung", [-880.0, -700.0])
def test_lung_cut_by_the_field_is_body_and_air_around_is_not(field, lung):
    mask, body = body_mask(chest(lung=lung)[field]), BODY[field]
    assert mask[(LEFT | RIGHT)[field]].mean() > 0.99 and mask[body].mean() > 0.95
    assert not mask[~body].any()


def test_air_at_the_edge_stays_outside_where_the_body_is_cut_on_both_sides():
    field = (slice(15, 75), slice(None))
    hu = chest(lung=40.0)[field]
    assert not body_mask(hu)[~BODY[field]].any()


@pytest.mark.parametrize(
    ("stuff", "value"),
    [((X / 52) ** 2 + (Y / 40) ** 2 <= 1, -800.0), (Y < -15, -930.0)],
    ids=["a blanket of 4 cm", "foam as far as the edge"],
)
def test_what_lies_on_the_skin_stays_outside(stuff, value):
    hu = chest()
    hu[stuff & ~BODY] = value
    assert not body_mask(hu[4:86])[~BODY[4:86]].any()


@pytest.mark.parametrize("outside", [-700.0, -3024.0])
def test_air_of_another_value_stays_outside(outside):
    hu = np.maximum(chest(outside), -700.0) if outside == -700.0 else chest(outside)
    field = slice(15, 75)
    assert not body_mask(hu[field])[~BODY[field]].any()


def test_an_airway_behind_a_thin_wall_at_the_edge_is_body():
    hu = chest(lung=40.0)
    trachea = np.hypot(X, Y - 26) <= 3
    hu[trachea] = -1000
    field = (slice(None), slice(0, 35 + 26 + 4 + 1))
    hu[:, 35 + 26 + 4 :, :][~BODY[:, 35 + 26 + 4 :, :]] = -1000
    mask = body_mask(hu[field])
    assert mask[trachea[field]].all() and not mask[~BODY[field]].any()


def test_in_a_normalised_image_lung_behind_a_thin_wall_at_the_edge_is_body():
    image = normalise_hu(chest()[WALL_FIRST:])[None]
    selected = BodySelector((4.0, 4.0, 4.0))(image).numpy()[0]
    assert selected[LEFT[WALL_FIRST:]].mean() > 0.99 and not selected[~BODY[WALL_FIRST:]].any()
