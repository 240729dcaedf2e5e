"""Growth limits, opening and smooth borders on distances, one after the other."""

import numpy as np
import pytest

from scripts.pseudo_labels.geodesic_labels import nearest_class
from scripts.pseudo_labels.growth_limits import SupportSize, within_growth_limits
from scripts.pseudo_labels.post_processing import (
    given_to_background,
    limit_growth,
    limit_volume,
    open_masks,
    post_processed,
)
from scripts.pseudo_labels.settings import (
    BorderSettings,
    GeodesicSettings,
    GrowthLimits,
    OpeningSettings,
    SupportLimits,
)

SPACING_MM = (1.0, 2.0, 5.0)
LIMIT = GrowthLimits(growth_share=0.4, leak_share=1.0)
CLEAR = GrowthLimits(growth_share=0.4, leak_share=0.15, free_share=0.2, clear_share=0.6)
OPENING = OpeningSettings(opening_radius_mm=4.0)
BLOCK_MM = (2.0, 2.0, 2.0)
BLOCK_AFFINE = np.diag([*BLOCK_MM, 1.0])


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request, monkeypatch):
    """All classes by one thread, or by two: every result is the same."""
    monkeypatch.setattr("scripts.common.sharing.threads.allowed_threads", lambda: request.param)


def stroke():
    """Ten voxels of 2 mm along y: an extent of 20 mm."""
    seeds = np.zeros((41, 24, 7), dtype=bool)
    seeds[20, 7:17, 3] = True
    return seeds


def everywhere_nearest():
    """Distances and seeds of background, a class that takes everything, and a class without seeds."""
    seeds = np.stack([np.zeros_like(stroke()), stroke(), np.zeros_like(stroke())])
    distances = np.full(seeds.shape, 0.5, dtype=np.float32)
    distances[1] = 0.2
    return distances, seeds


def joined_blocks():
    """Two blocks of 8 x 8 x 8 voxels of 2 mm, joined by a bar of 2 x 2: distances, and a seed in the first."""
    distances = np.ones((2, 24, 10, 10), dtype=np.float32)
    distances[0] = 0.5
    seeds = np.zeros(distances.shape, dtype=bool)
    for block in (np.s_[1:9, 1:9, 1:9], np.s_[15:23, 1:9, 1:9], np.s_[9:15, 4:6, 4:6]):
        distances[1][block] = 0.0
    seeds[1, 5, 5, 5] = True
    return distances, seeds


def test_what_lies_beyond_the_limits_goes_to_the_background():
    distances, seeds = everywhere_nearest()
    label, border_confidence = limit_growth(nearest_class(distances), seeds, SPACING_MM, LIMIT)
    assert list(border_confidence) == [1] and 0 < border_confidence[1] < 1, "nothing of a class without seeds"
    everywhere = np.ones_like(stroke())
    expected, _ = within_growth_limits(everywhere, stroke(), np.full(everywhere.shape, 0.4), SPACING_MM, LIMIT)
    np.testing.assert_array_equal(label, expected)


def test_the_nearest_rival_is_the_nearest_of_all_other_classes():
    distances, seeds = everywhere_nearest()
    distances[2, 21:] = 0.25  # towards higher x a rival is near: a ratio of 0.8, elsewhere of 0.4
    label, _ = limit_growth(nearest_class(distances), seeds, SPACING_MM, CLEAR)
    kept = np.flatnonzero(label[:, 10, 3] == 1)
    assert kept.tolist() == list(range(12, 26)), "0.4 up to 8.8 mm, 0.8 up to 5.6 mm"


def test_what_leaked_through_a_narrow_passage_goes_to_the_background():
    distances, seeds = joined_blocks()
    label, shares = open_masks(nearest_class(distances).label, seeds, BLOCK_MM, OPENING)
    assert shares == {1: pytest.approx(1 / 2, abs=0.05)}
    assert label[1:9, 1:9, 1:9].mean() > 0.9 and label[15:23, 1:9, 1:9].sum() == 0


def test_what_a_class_lost_is_next_to_the_background_and_far_from_the_class():
    distances = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.9], [0.3, 0.1, 0.4]]).reshape(3, 3, 1, 1)
    before, after = (np.array(label, dtype=np.uint8).reshape(3, 1, 1) for label in ([1, 2, 0], [1, 0, 0]))
    given = given_to_background(distances, before, after, truncation=1.0)
    assert given[:, :, 0, 0].tolist() == [[0.5, 0.0, 0.0], [0.1, 0.2, 0.9], [0.3, 1.0, 0.4]]
    assert distances[2, 1, 0, 0] == 0.1, "the distances stay"


def test_with_everything_off_the_distances_are_the_same_object():
    distances, seeds = joined_blocks()
    processed = post_processed(distances, seeds, BLOCK_AFFINE, GeodesicSettings())
    assert processed.distances is distances
    assert (processed.opened_share, processed.border_confidence) == ({}, {})


def test_limits_come_before_opening_and_the_distances_tell_what_is_left():
    distances, seeds = joined_blocks()
    before = distances.copy()
    limit = GrowthLimits(growth_share=8.0, leak_share=1.0)  # the seed's extent is 2 mm: 16 mm, x 0 to 13
    processed = post_processed(distances, seeds, BLOCK_AFFINE, GeodesicSettings(growth=limit, opening=OPENING))
    np.testing.assert_array_equal(distances, before, err_msg="the distances stay")
    near, border_confidence = limit_growth(nearest_class(distances), seeds, BLOCK_MM, limit)
    expected, shares = open_masks(near, seeds, BLOCK_MM, OPENING)
    assert (processed.opened_share, processed.border_confidence) == (shares, border_confidence)
    assert 0 < shares[1] < 0.2, "only the bar is left to lose"
    np.testing.assert_array_equal(nearest_class(processed.distances).label, expected)
    assert (processed.distances[:, 15:23, 1:9, 1:9] == np.array([0, 1]).reshape(2, 1, 1, 1)).all()


def test_borders_are_smoothed_last():
    distances, seeds = joined_blocks()
    rough = GeodesicSettings(truncation=2.0, opening=OPENING)
    smooth = GeodesicSettings(truncation=2.0, opening=OPENING, border=BorderSettings(border_smoothing_voxels=1.0))
    opened = nearest_class(post_processed(distances, seeds, BLOCK_AFFINE, rough).distances).label
    processed = post_processed(distances, seeds, BLOCK_AFFINE, smooth).distances
    label = nearest_class(processed).label
    assert opened[1, 1, 4] == 1 and label[1, 1, 4] == 0, "an edge"
    assert label[15:].sum() == 0 and label[2:8, 2:8, 2:8].all()
    assert processed.min() >= 0 and processed.max() == 2.0
    assert processed[:, 5, 5, 5].tolist() == [2.0, 0.0], "the seed has its class's whole share"


def test_the_supports_volume_is_counted_in_slanted_voxels_on_a_sheared_grid():
    """Voxels with edges of 2, 2 and 2.5 mm are 0.008 ml where the last is 2 mm high: of 0.804 ml stay 100, not 80."""
    distances, _ = everywhere_nearest()
    grown = nearest_class(distances)
    sheared = BLOCK_AFFINE.copy()
    sheared[1, 2] = 1.5
    limits = SupportLimits(least_volume_share=0.1, most_volume_share=1.0)
    limited = limit_volume(grown, grown.label, sheared, limits, {1: SupportSize(0.804, None)})
    assert np.count_nonzero(limited) == 100
