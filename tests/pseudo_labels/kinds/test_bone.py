import numpy as np

from scripts.pseudo_labels.kinds.bone import by_threshold

SPACING_MM = (1.0, 2.0, 3.0)
SHAPE = (20, 12, 5)


def bone(image, strokes, others=None, reach_mm=100.0, possible=None):
    everywhere = np.ones(SHAPE, dtype=bool)
    nothing = np.zeros(SHAPE, dtype=bool)
    return by_threshold(
        image,
        strokes,
        nothing if others is None else others,
        everywhere if possible is None else possible,
        0.7,
        reach_mm,
        SPACING_MM,
    )


def sheet():
    """A sheet one voxel thin across y, stroked in its middle."""
    image = np.full(SHAPE, 0.5)
    image[:, 5] = 0.9
    strokes = np.zeros(SHAPE, dtype=bool)
    strokes[10, 5, 2] = True
    return image, strokes


def test_a_thin_sheet_grows_whole_and_no_brighter_part_elsewhere():
    image, strokes = sheet()
    image[:, 9] = 1.0
    np.testing.assert_array_equal(np.argwhere(bone(image, strokes).any(axis=(0, 2))).ravel(), [5])
    assert bone(image, strokes).sum() == 20 * 5


def test_it_ends_at_its_reach_and_where_it_is_possible():
    image, strokes = sheet()
    assert np.flatnonzero(bone(image, strokes, reach_mm=4.0)[:, 5, 2]).tolist() == list(range(6, 15))
    possible = np.zeros(SHAPE, dtype=bool)
    possible[:, :, 1:4] = True
    assert bone(image, strokes, possible=possible).any(axis=(0, 1)).tolist() == [False, True, True, True, False]


def test_only_strokes_on_another_bone_are_rivals():
    image, strokes = sheet()
    beside, on = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    beside[12, 6, 2], on[16, 5, 2] = True, True
    assert bone(image, strokes, beside).sum() == 20 * 5
    assert np.flatnonzero(bone(image, strokes, on)[:, 5, 2]).tolist() == list(range(13)), "half way to voxel 16"


def test_marrow_is_filled_and_other_strokes_are_not():
    image = np.full(SHAPE, 0.5)
    image[5:12, 3:9], image[7:10, 5:7] = 0.9, 0.4
    strokes, others = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    strokes[5, 5, 2] = True
    assert bone(image, strokes)[7:10, 5:7].all()
    others[8, 5, 2] = True
    grown = bone(image, strokes, others)
    assert not grown[8, 5, 2] and grown[8, 6, 2]
