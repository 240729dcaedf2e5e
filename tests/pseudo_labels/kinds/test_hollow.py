import numpy as np
import pytest

from scripts.pseudo_labels.kinds.growers import grown_by_kind
from scripts.pseudo_labels.kinds.hollow import lumen_of, wall_strokes_mm, wall_thicknesses_mm, with_walls
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings

SPACING_MM = (2.0, 4.0, 3.0)


def line(*voxels):
    """(9, 5, 3) bool, true at x of the voxels, in the middle of the middle slice."""
    mask = np.zeros((9, 5, 3), dtype=bool)
    mask[list(voxels), 2, 1] = True
    return mask


NOWHERE = line()
EVERYWHERE = ~NOWHERE


def test_the_lumen_is_dark_and_holds_on_to_the_strokes():
    image = np.ones((9, 5, 3))
    image[[1, 2, 3, 6], 2, 1] = 0.0
    np.testing.assert_array_equal(lumen_of(image, line(2), NOWHERE, EVERYWHERE, 0.05), line(1, 2, 3))
    np.testing.assert_array_equal(lumen_of(image, line(2), line(3), EVERYWHERE, 0.05), line(1, 2))


def test_strokes_on_the_wall_are_measured_in_their_planes():
    strokes = line(2, 5)
    strokes[2, 3, 1], strokes[2, 2, 0] = True, True  # 4 mm off; in a plane without lumen
    distances_mm, stroke_count = wall_strokes_mm(line(2, 3), strokes, SPACING_MM)
    assert sorted(distances_mm) == [4.0, 4.0] and stroke_count == 2
    distances_mm, stroke_count = wall_strokes_mm(line(2, 3), line(2, 3), SPACING_MM)
    assert distances_mm.size == stroke_count == 0
    assert wall_strokes_mm(line(2), line(2, 4, 5, 7), SPACING_MM)[1] == 2, "4 and 5 are one stroke"


def test_a_wall_ends_where_evenly_spread_strokes_would():
    assert wall_thicknesses_mm(np.array([4.0]), 1) == (8.0, 4.0, 8.0)
    draws_mm = np.random.default_rng(0).uniform(0, 8, (1000, 400))
    assert np.mean([wall_thicknesses_mm(drawn, 9)[0] for drawn in draws_mm]) == pytest.approx(8.0, abs=0.2)


def test_a_stroke_astray_widens_no_wall_but_its_doubt():
    even_mm = np.linspace(0.1, 6.0, 60)
    expected_mm, least_mm, most_mm = wall_thicknesses_mm(np.append(even_mm, 40.0), 3)
    assert least_mm < expected_mm < 6.5 and most_mm > 40.0
    assert wall_thicknesses_mm(np.array([5.0, 5.0, 25.0]), 3)[0] == 10.0, "twice the median"


def test_the_wall_lies_around_the_lumen_up_to_nearer_strokes():
    thin, around = with_walls(line(3), line(3), line(7), EVERYWHERE, (2.0, 4.0), SPACING_MM)
    np.testing.assert_array_equal(thin, line(2, 3, 4))
    np.testing.assert_array_equal(around[:, 2, 1], line(1, 2, 3, 4)[:, 2, 1])  # 5 is as near to the other strokes
    assert around[3, :, 1].tolist() == [False, True, True, True, False]
    assert around[3, 2].tolist() == [True, True, True]
    none_above = np.arange(3) < 2
    (below,) = with_walls(line(3), line(3), NOWHERE, EVERYWHERE & none_above, (4.0,), SPACING_MM)
    assert not below[3, 2, 2]


NO_TUBES = KindSettings(tube_elongation=100.0)


def airway(wall_strokes, settings=NO_TUBES, grown_mm=8.0):
    """A tube of air of 8 mm radius in a wall of 6 mm that looks like what is around it, and its strokes."""
    spacing_mm = (2.0, 2.0, 3.0)
    x, y, _ = np.meshgrid(*(np.arange(size) for size in (50, 50, 20)), indexing="ij")
    away_mm = np.hypot(2.0 * (x - 25), 2.0 * (y - 25))
    image = np.where(away_mm <= 8.0, 0.0, 0.5) + np.random.default_rng(0).uniform(0, 0.02, x.shape)
    strokes = np.zeros(x.shape, dtype=np.uint8)
    strokes[23:28, 25, 2:19:4] = 1
    if wall_strokes:
        strokes[31, 25, 2], strokes[25, 20, 6], strokes[25, 31, 10] = 1, 1, 1  # 4, 2 and 4 mm from the air
    strokes[2:6, 2:6, ::8] = 2
    blobs = np.where(away_mm <= grown_mm, 1, 0).astype(np.uint8)
    return grown_by_kind(image, strokes, blobs, 1, spacing_mm, settings), away_mm


def test_a_hollow_organ_has_a_wall_if_strokes_lie_on_it():
    grown, away_mm = airway(wall_strokes=True)
    assert grown.kinds == {1: Kind.WALLED}
    mask = (grown.label == 1)[:, :, 4:16]
    assert mask[away_mm[:, :, 4:16] <= 12.0].all(), "a third more than the farthest stroke, 4 mm"
    assert not mask[away_mm[:, :, 4:16] > 8.0 + 4.0 * 4 / 3].any()
    assert 0.5 < grown.agreement[1] < 0.95, "how far the wall goes is not certain"


def test_the_kind_of_a_mask_that_was_given_is_that_of_its_strokes():
    assert airway(wall_strokes=True, grown_mm=-1.0)[0].kinds == {1: Kind.WALLED}, "without any blob"
    assert airway(wall_strokes=False, grown_mm=-1.0)[0].kinds == {1: Kind.HOLLOW}


def test_strokes_deep_in_what_fills_an_organ_are_on_no_wall():
    grown, _ = airway(wall_strokes=True, settings=KindSettings(tube_elongation=100.0, thickest_wall_mm=4.0))
    assert grown.kinds == {1: Kind.HOLLOW}


def test_a_hollow_organ_drawn_in_its_air_alone_stays_a_blob():
    grown, away_mm = airway(wall_strokes=False)
    assert grown.kinds == {1: Kind.HOLLOW} and grown.agreement == {}
    np.testing.assert_array_equal(grown.label == 1, away_mm <= 8.0)
