from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from scripts.common.overlap import dice_of
from scripts.pseudo_labels.kinds.growers import grown_by_kind
from scripts.pseudo_labels.kinds.painted_slices import are_painted, between_slices, left_out_mm
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings

SPACING_MM = (2.0, 2.0, 3.0)
SHAPE = (60, 60, 30)
SETTINGS = KindSettings()
DRAWN = [4, 9, 14, 19, 24]


def ball(radius_mm=30.0, centre=(30, 30, 14)):
    """About the third slice of `DRAWN`, from slice 4 to 24."""
    places = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    away = [step * (place - middle) for step, place, middle in zip(SPACING_MM, places, centre, strict=True)]
    return np.linalg.norm(np.stack(away), axis=0) <= radius_mm


def image_of(organ, contrast=0.2):
    return 0.4 + contrast * organ + np.random.default_rng(0).normal(0, 0.02, SHAPE)


def on_slices(mask, slices=DRAWN):
    drawn = np.zeros_like(mask)
    drawn[:, :, slices] = mask[:, :, slices]
    return drawn


@pytest.mark.parametrize(
    ("drawn", "left_mm"),
    [
        (on_slices(ball()), 0.0),
        (on_slices(ball(15.0), [11, 14, 17]), np.inf),
        (on_slices(ball(3.0), [14, 15]), None),
        (on_slices(ball(), [14]), None),
    ],
    ids=["whole slices", "half of it", "a line's thickness", "one slice"],
)
def test_whether_strokes_cover_their_organ(drawn, left_mm):
    nothing = np.zeros(SHAPE, dtype=bool)
    assert left_out_mm(image_of(ball()), drawn, nothing, SPACING_MM, SETTINGS) == left_mm


def test_what_was_left_out_of_painted_slices_grows_back():
    """A rod of 20 mm, painted up to 17 mm: more than a voxel of 2 mm is left out."""
    x, y, _ = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    rod, inner = (np.broadcast_to(2 * np.hypot(x - 30, y - 30) <= radius, SHAPE) for radius in (20.0, 17.0))
    image, nothing = image_of(rod), np.zeros(SHAPE, dtype=bool)
    left_mm = left_out_mm(image, on_slices(inner), nothing, SPACING_MM, SETTINGS)
    assert left_mm is not None and 2.0 <= left_mm < 5.0
    strokes = on_slices(inner).astype(np.uint8)
    strokes[:, 0, ::5] = 2
    label = grown_by_kind(image, strokes, 0 * strokes, 1, SPACING_MM, SETTINGS)
    assert label.kinds == {1: Kind.PAINTED}
    assert dice_of(label.label[:, :, 4:25] == 1, rod[:, :, 4:25]) > 0.9 > dice_of(inner, rod)


@pytest.mark.parametrize(
    ("answers", "painted"),
    [
        ([0.0], True),
        ([0.0, np.inf], False),
        ([0.0, 2.5, np.inf, None], True),
        ([0.0, 2.5, None, None, None, None, None], False),
        ([0.0, 2.5, 0.0, np.inf, None, None, None], True),
        ([None, None], False),
    ],
)
def test_classes_are_painted_if_more_say_so_than_say_otherwise_and_enough_do(answers, painted):
    assert are_painted(answers, 0.33) is painted


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_texture_is_no_border(seed):
    """Discs of 6 mm in what looks alike everywhere but for a texture, of which a few voxels show a part."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, SHAPE), (1, 1, 0))
    x, y, _ = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    drawn = on_slices(np.broadcast_to(np.hypot(x - 30, y - 30) <= 3, SHAPE), [8, 12, 16])
    assert left_out_mm(0.5 + 0.1 * texture, drawn, np.zeros(SHAPE, dtype=bool), SPACING_MM, SETTINGS) == np.inf


def test_what_painted_slices_say_of_what_lies_between():
    """Squares of 11 voxels of 2 mm on slices 5 and 9 of 3 mm: on slice 7, 6 mm away, 6 mm of the border are free."""
    painted, others = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    painted[20:31, 20:31, [5, 9]], others[25, 25, 7] = True, True
    known = between_slices(painted, others, SPACING_MM)
    np.testing.assert_array_equal(known.certain[:, :, 5], painted[:, :, 5])
    np.testing.assert_array_equal(known.outside[:, :, 5], ~painted[:, :, 5])
    assert np.flatnonzero(known.certain[:, 22, 7]).tolist() == [] and known.certain[23, 23, 7]
    assert np.flatnonzero(~known.outside[:, 25, 7]).tolist() == [*range(18, 25), *range(26, 33)]
    assert np.flatnonzero(known.interpolated[:, 25, 7]).tolist() == [*range(20, 25), *range(26, 31)]
    assert known.away[[16, 17, 18, 19, 20], 22, 7] == pytest.approx([1, 1, 2 / 3, 1 / 3, 0], abs=1e-3)


def grown(painted_mm, settings=SETTINGS):
    """Two balls of 21 mm, painted up to a radius; and as blobs both leak."""
    centres = ((14, 30, 14), (45, 30, 14))
    left, right = (ball(21.0, centre) for centre in centres)
    first, second = (on_slices(ball(painted_mm, centre), [7, 10, 12, 14, 16, 18, 21]) for centre in centres)
    strokes = np.where(first, 1, np.where(second, 2, 0)).astype(np.uint8)
    strokes[:, 0, ::5] = 3
    blobs = np.where(np.arange(SHAPE[0])[:, None, None] < 30, 1, 2).astype(np.uint8) * np.ones(SHAPE, dtype=np.uint8)
    return grown_by_kind(image_of(left | right), strokes, blobs, 2, SPACING_MM, settings), left, right, blobs


def test_classes_that_were_painted_whole_are_what_lies_between_their_slices():
    label, left, right, _ = grown(21.0)
    assert label.kinds == {1: Kind.PAINTED, 2: Kind.PAINTED}
    assert dice_of(label.label == 1, left) > 0.95 and dice_of(label.label == 2, right) > 0.95
    assert min(label.agreement.values()) > 0.9


def test_where_most_were_not_painted_whole_all_grow_by_kind():
    label, *_, blobs = grown(12.0)
    assert label.kinds == {1: Kind.BLOB, 2: Kind.BLOB}
    np.testing.assert_array_equal(label.label, blobs)


def test_a_setting_says_what_strokes_may_not():
    assert grown(21.0, replace(SETTINGS, painted=False))[0].kinds == {1: Kind.BLOB, 2: Kind.BLOB}
    assert grown(12.0, replace(SETTINGS, painted=True))[0].kinds == {1: Kind.PAINTED, 2: Kind.PAINTED}


def test_between_the_slices_of_a_painted_bone_it_is_what_is_bright():
    """A bone whose one end is nowhere near its other: no straight line between its slices meets it."""
    bone = np.zeros(SHAPE, dtype=bool)
    bone[10:50, 28:33, 14], bone[10:15, 28:33, 8:14], bone[45:50, 28:33, 15:21] = True, True, True
    strokes = on_slices(bone, [8, 14, 20]).astype(np.uint8)
    strokes[:, 0, ::5] = 2
    settings = replace(SETTINGS, painted=True, bone_reach_share=1.0)
    label = grown_by_kind(np.where(bone, 0.9, 0.5), strokes, 0 * strokes, 1, SPACING_MM, settings)
    assert label.kinds == {1: Kind.BONE}
    assert dice_of(label.label == 1, bone) > 0.98
    np.testing.assert_array_equal(label.label[:, :, [8, 14, 20]] == 1, bone[:, :, [8, 14, 20]])


def test_a_painted_tube_is_what_two_of_its_three_growers_say():
    """A tube that bends half way between two painted slices, where a straight line misses it."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    centre_x = np.interp(np.arange(SHAPE[2]), [0, 11, 14, 29], [26, 26, 32, 32])
    tube = np.hypot(x - centre_x[z], y - 30) <= 3
    painted = on_slices(tube, [1, 10, 19, 28])
    strokes = np.where(painted, 1, 0).astype(np.uint8)
    strokes[:, 0, ::5] = 2
    label = grown_by_kind(image_of(tube), strokes, 0 * strokes, 1, SPACING_MM, SETTINGS)
    straight = between_slices(painted, strokes == 2, SPACING_MM).interpolated
    assert label.kinds == {1: Kind.PAINTED}
    assert dice_of(straight, tube) < 0.9 < dice_of(label.label == 1, tube)
    assert label.agreement[1] > dice_of(straight, tube), "the third one agrees with both better than they do"


def test_a_hollow_organ_that_was_painted_has_its_wall():
    """A ball of air in a wall of 3 mm, all of it painted: most of it is dark."""
    organ, air = ball(21.0), ball(18.0)
    image = np.where(air, 0.0, 0.5)
    strokes = on_slices(organ, [7, 8, 11, 14, 17, 20, 21]).astype(np.uint8)
    strokes[:, 0, ::5] = 2
    settings = replace(SETTINGS, painted=True)
    label = grown_by_kind(image, strokes, np.zeros(SHAPE, dtype=np.uint8), 1, SPACING_MM, settings)
    assert label.kinds == {1: Kind.WALLED} and dice_of(label.label == 1, organ) > 0.9
