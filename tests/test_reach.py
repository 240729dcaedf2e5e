import numpy as np

from scripts.pseudo_labels import GeodesicSettings, _end_at_reach
from scripts.reach import within_reach

SPACING_MM = (1.0, 2.0, 5.0)


def stroke():
    """Ten voxels of 2 mm along y: an extent of 20 mm."""
    seeds = np.zeros((21, 24, 7), dtype=bool)
    seeds[10, 7:17, 3] = True
    return seeds


def test_the_reach_is_a_share_of_the_strokes_extent_in_mm():
    near = within_reach(stroke(), SPACING_MM, 0.4)  # 8 mm
    assert np.flatnonzero(near[:, 10, 3]).tolist() == list(range(2, 19)), "8 voxels of 1 mm"
    assert np.flatnonzero(near[10, :, 3]).tolist() == list(range(3, 21)), "4 voxels of 2 mm beyond either end"
    assert np.flatnonzero(near[10, 10]).tolist() == [2, 3, 4], "1 voxel of 5 mm"


def test_what_lies_beyond_goes_to_the_background():
    seeds = np.stack([np.zeros_like(stroke()), stroke(), np.zeros_like(stroke())])
    distances = np.full(seeds.shape, 0.5, dtype=np.float32)
    distances[1] = 0.2  # all alike: the class would take everything
    _end_at_reach(distances, seeds, SPACING_MM, GeodesicSettings(reach_share=0.4))
    np.testing.assert_array_equal(distances.argmin(axis=0) == 1, within_reach(stroke(), SPACING_MM, 0.4))
    assert (distances[2] == 0.5).all(), "a class without seeds has nothing to lose"
