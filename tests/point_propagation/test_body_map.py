"""Points by the map of the body: known maps, organs that were found elsewhere, and bodies that follow no map."""

import numpy as np
import pytest

from scripts.point_propagation.body_map import BodyMapSettings, map_points, on_the_map

SETTINGS = BodyMapSettings()
BODY_MM = np.stack(np.meshgrid([0, 40, 80, 120], [0, 30, 60, 90], [0, 50, 100], indexing="ij"), axis=-1).reshape(-1, 3)
ORGAN = np.array([[58.0, 40, 50], [60, 44, 52], [62, 42, 56], [64, 46, 48]])
POINTS_MM = np.vstack([BODY_MM, ORGAN]).astype(float)


def in_query(places_mm):
    """A body 10 % taller and 5 % narrower, moved."""
    return places_mm * [0.95, 1.0, 1.1] + [100.0, -20, 7]


def test_an_organ_that_was_found_elsewhere_goes_where_the_others_say():
    found_mm = in_query(POINTS_MM)
    found_mm[len(BODY_MM) :] += [0, 0, -30]
    mapped = map_points(POINTS_MM, found_mm, SETTINGS)
    assert mapped.believed
    assert mapped.residuals_mm[len(BODY_MM) :] == pytest.approx([30] * 4, abs=1.5)
    off_mm = np.linalg.norm(mapped.places_mm - in_query(POINTS_MM), axis=1)
    assert off_mm[len(BODY_MM) :].max() < 3 and off_mm.max() < 3


def test_what_all_near_points_say_bends_the_map_and_what_one_says_does_not():
    together_mm, alone_mm = in_query(POINTS_MM), in_query(POINTS_MM)
    low = POINTS_MM[:, 2] < 25
    together_mm[low, 0] += 6
    one = len(BODY_MM)
    alone_mm[one, 0] += 6
    settings = BodyMapSettings(doubt_mm=20.0, nearby_mm=20.0)
    moved_mm = map_points(POINTS_MM, together_mm, settings).places_mm[low, 0] - in_query(POINTS_MM)[low, 0]
    assert moved_mm.mean() > 4.5
    assert abs(map_points(POINTS_MM, alone_mm, settings).places_mm[one, 0] - in_query(POINTS_MM)[one, 0]) < 2.5


def test_bodies_whose_points_follow_no_map_are_not_believed():
    away_mm = np.random.default_rng(0).normal(size=POINTS_MM.shape)
    away_mm *= 40 / np.linalg.norm(away_mm, axis=1, keepdims=True)
    mapped = map_points(POINTS_MM, in_query(POINTS_MM) + away_mm, SETTINGS)
    assert not mapped.believed and np.median(mapped.residuals_mm) > SETTINGS.largest_residual_mm
    assert map_points(POINTS_MM, in_query(POINTS_MM) + away_mm, BodyMapSettings(largest_residual_mm=60.0)).believed


def test_three_points_make_no_map():
    found_mm = in_query(POINTS_MM[:3])
    mapped = map_points(POINTS_MM[:3], found_mm, SETTINGS)
    assert not mapped.believed and mapped.places_mm is found_mm and mapped.residuals_mm.tolist() == [0, 0, 0]


def test_a_class_that_looks_much_less_like_the_support_on_the_map_stays_where_it_was_found():
    labels = np.array([3, 0, 3, 1, 1])
    found, mapped = np.array([0.9, 0.5, 0.7, 0.8, 0.8]), np.array([0.9, 0.6, 0.35, 0.5, 0.5])
    assert on_the_map(labels, found, mapped, 0.2).tolist() == [True, True, True, False, False]
    assert on_the_map(labels, found, mapped, 0.1).tolist() == [False, True, False, False, False]
