import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.records import KEPT, PointSet
from scripts.pseudo_labels.growth_limits import (
    SupportSize,
    support_sizes,
    within_growth_limits,
    within_support_volume,
)
from scripts.pseudo_labels.settings import GrowthLimits, SupportLimits

SPACING_MM = (1.0, 2.0, 5.0)
LIMIT = GrowthLimits(growth_share=0.4, leak_share=1.0)
CLEAR = GrowthLimits(growth_share=0.4, leak_share=0.15, free_share=0.2, clear_share=0.6)


def stroke():
    """Ten voxels of 2 mm along y: an extent of 20 mm."""
    seeds = np.zeros((41, 24, 7), dtype=bool)
    seeds[20, 7:17, 3] = True
    return seeds


def kept_along_x(mask, ratio, limits):
    """Which x of the line through the stroke's middle stay: 1 mm is a twentieth of the extent."""
    kept, _ = within_growth_limits(mask, stroke(), np.full(mask.shape, ratio), SPACING_MM, limits)
    return np.flatnonzero(kept[:, 10, 3]).tolist()


def test_the_growth_limit_is_a_share_of_the_strokes_extent_in_mm():
    near, _ = within_growth_limits(np.ones_like(stroke()), stroke(), np.ones(stroke().shape), SPACING_MM, LIMIT)  # 8 mm
    assert np.flatnonzero(near[:, 10, 3]).tolist() == list(range(12, 29)), "8 voxels of 1 mm"
    assert np.flatnonzero(near[20, :, 3]).tolist() == list(range(3, 21)), "4 voxels of 2 mm beyond either end"
    assert np.flatnonzero(near[20, 10]).tolist() == [2, 3, 4], "1 voxel of 5 mm"


def test_a_class_that_leaks_keeps_what_is_clearly_nearer_to_it_than_to_its_rivals():
    everywhere = np.ones_like(stroke())
    assert kept_along_x(everywhere, 1.0, CLEAR) == list(range(16, 25)), "as near to a rival: 4 mm, a fifth"
    assert kept_along_x(everywhere, 0.51, CLEAR) == list(range(13, 28)), "half as near, within 8 mm, not at 8 mm"
    assert kept_along_x(everywhere, 0.0, CLEAR) == list(range(9, 32)), "within 12 mm"


def test_a_class_that_stops_by_itself_need_not_be_clear():
    """Of 18 voxels, that at 9 mm is beyond the limit: 6 %."""
    organ = np.zeros_like(stroke())
    organ[12:30, 10, 3] = True
    assert kept_along_x(organ, 1.0, CLEAR) == list(range(12, 29))
    organ[30:33, 10, 3] = True  # 4 of 21: 19 %
    assert kept_along_x(organ, 1.0, CLEAR) == list(range(16, 25))


def test_confidence_in_a_border_is_how_far_limits_do_not_move_it():
    """A line of 17 voxels: by distance alone, 8 mm, all stay; at a ratio of 0.6 what is at 8 mm is not clear."""
    organ = np.zeros_like(stroke())
    organ[12:29, 10, 3] = True
    ratio = np.full(organ.shape, 0.6)  # (0.6 - away) / 0.4 is 0.75 at 6 mm, 0.625 at 7 mm, 0.5 at 8 mm
    kept, border_confidence = within_growth_limits(organ, stroke(), ratio, SPACING_MM, CLEAR)
    assert kept.sum() == 17 and border_confidence == pytest.approx(2 * 15 / (17 + 15))
    organ[:14, 10, 3] = organ[27:, 10, 3] = False
    assert within_growth_limits(organ, stroke(), ratio, SPACING_MM, CLEAR)[1] == 1.0, "it ends by itself"


def test_the_extent_may_be_that_of_the_supports_strokes():
    everywhere, ratio = np.ones_like(stroke()), np.ones(stroke().shape)
    near, _ = within_growth_limits(everywhere, stroke(), ratio, SPACING_MM, LIMIT, extent_mm=10.0)
    assert np.flatnonzero(near[:, 10, 3]).tolist() == list(range(16, 25)), "0.4 of 10 mm"


@pytest.mark.parametrize(
    ("support_voxels", "kept"),
    [
        (2.0, [0, 1, 2, 3]),  # at most twice two: those that are clearly nearest
        (2.5, [0, 1, 2, 3, 4]),
        (3.0, [0, 1, 2, 3, 4, 5]),  # six are twice three
        (12.0, [0, 1, 2, 3, 4, 5]),  # half of twelve
        (12.5, []),  # less than half
    ],
)
def test_a_class_keeps_about_its_volume_in_the_support(support_voxels, kept):
    mask = np.array([True] * 6 + [False] * 2).reshape(-1, 1, 1)
    ratio = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0]).reshape(-1, 1, 1)
    limits = SupportLimits(least_volume_share=0.5, most_volume_share=2.0)
    assert np.flatnonzero(within_support_volume(mask, ratio, support_voxels, limits)).tolist() == kept


def test_sizes_are_of_the_strokes_in_the_support_whatever_became_of_the_points():
    points = three_points()
    sizes = support_sizes(
        points, {"spleen": 150.0, "liver": 0.0, "kidney": 90.0}, {"spleen": 3, "liver": 5, "kidney": 7}
    )
    assert sizes == {1: SupportSize(150.0, 40.0), 3: SupportSize(90.0, None)}, "the liver has no mask"


def three_points():
    support_mm = np.array([[0.0, 0, 0], [10, 40, 0], [0, 0, 99], [0, 0, 0], [90, 0, 0]])
    voxels = np.zeros((5, 3), int)
    reasons = np.array([KEPT, "dropped", KEPT, KEPT, KEPT], dtype=object)
    labels = np.array([3, 3, 7, 5, 5])
    return PointSet(labels, voxels, support_mm, support_mm + 500.0, voxels, np.ones(5), reasons)


@pytest.mark.parametrize("shares", [(1.0, 1.0), (-0.1, 2.0), (3.0, 2.0)])
def test_volume_limits_that_allow_nothing_are_refused(shares):
    with pytest.raises(BundleError, match="the volume limits are not usable"):
        SupportLimits(*shares)
