"""Simulated strokes stay where they belong, on any grid."""

import numpy as np
import pytest
from scipy import ndimage

from bundle.datasets.scribble_simulation import simulate_scribbles
from scripts.common.errors import BundleError

CLASSES = {"ball": 1, "plate": 3}
BACKGROUND = 9
LAS = np.array([[-2.0, 0, 0, 50], [0, 2.0, 0, -30], [0, 0, 6.0, 7], [0, 0, 0, 1]])
PERMUTED = np.array([[0, 0, 3.0, 0], [6.0, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])  # axes A, I, R


def label_map():
    """A ball, an organ of another class, and a plate one voxel thick in plane."""
    x, y, z = np.ogrid[:48, :40, :24]
    label = np.zeros((48, 40, 24), dtype=np.uint8)
    label[(x - 14) ** 2 + (y - 20) ** 2 + 4 * (z - 12) ** 2 < 100] = 1
    label[34:40, 20, 4:20] = 3
    label[30:44, 30:36, 2:9] = 5  # labelled, but not drawn
    return label


@pytest.mark.parametrize("affine", [LAS, PERMUTED, np.diag([1.0, 1.0, 5.0, 1.0])])
def test_strokes_lie_inside_their_class_and_the_background_outside_everything_labelled(affine):
    label = label_map()
    scribbles = simulate_scribbles(label, affine, CLASSES, BACKGROUND, seed=1)
    assert scribbles.dtype == np.uint8
    assert scribbles.shape == label.shape
    assert set(np.unique(scribbles)) == {0, 1, 3, BACKGROUND}
    for value in CLASSES.values():
        assert (label[scribbles == value] == value).all()
    assert (label[scribbles == BACKGROUND] == 0).all()
    assert (scribbles == 1).sum() < 0.1 * (label == 1).sum()


def test_background_stays_in_the_body_and_off_the_borders_of_organs():
    label = label_map()
    body = np.zeros(label.shape, dtype=bool)
    body[4:46, 5:38, 2:22] = True
    scribbles = simulate_scribbles(label, LAS, CLASSES, BACKGROUND, seed=2, body=body)
    background = scribbles == BACKGROUND
    assert background.any()
    assert not (background & ~body).any()
    away_mm = min(
        ndimage.distance_transform_edt(label[:, :, k] == 0, (2, 2))[background[:, :, k]].min()
        for k in range(24)
        if background[:, :, k].any() and label[:, :, k].any()
    )
    assert away_mm > 3


def test_the_affine_decides_which_slices_are_axial():
    label = label_map()
    drawn = simulate_scribbles(label, PERMUTED, {"ball": 1}, BACKGROUND, 0, coronal_slices=0, background_slices=3) == 1
    assert 2 <= len(np.unique(np.nonzero(drawn)[1])) <= 4  # superior-inferior is the second axis of this array
    assert len(np.unique(np.nonzero(drawn)[2])) > 4


def test_each_stroke_is_one_connected_line_one_voxel_wide():
    label = label_map()
    scribbles = simulate_scribbles(label, LAS, {"ball": 1}, BACKGROUND, 3, coronal_slices=0)
    for k in np.unique(np.nonzero(scribbles == 1)[2]):
        drawn = scribbles[:, :, k] == 1
        assert ndimage.label(drawn, np.ones((3, 3)))[1] <= 2  # one or two strokes
        assert not ndimage.binary_erosion(drawn, np.ones((3, 3))).any()


def test_strokes_are_spread_over_the_class_and_over_the_volume():
    scribbles = simulate_scribbles(label_map(), LAS, CLASSES, BACKGROUND, seed=4)
    ball = np.nonzero(scribbles == 1)[2]
    assert ball.min() <= 10
    assert ball.max() >= 14
    assert len(np.unique(np.nonzero(scribbles == BACKGROUND)[2])) >= 6


def test_the_seed_decides():
    label = label_map()
    first = simulate_scribbles(label, LAS, CLASSES, BACKGROUND, seed=5)
    assert np.array_equal(first, simulate_scribbles(label, LAS, CLASSES, BACKGROUND, seed=5))
    assert not np.array_equal(first, simulate_scribbles(label, LAS, CLASSES, BACKGROUND, seed=6))


def test_a_single_voxel_is_marked():
    label = np.zeros((8, 8, 8), dtype=np.uint8)
    label[4, 4, 4] = 1
    body = np.ones(label.shape, dtype=bool)
    scribbles = simulate_scribbles(label, np.eye(4), {"dot": 1}, 2, 0, body=body)
    assert np.argwhere(scribbles == 1).tolist() == [[4, 4, 4]]


def test_an_absent_class_is_named():
    with pytest.raises(BundleError, match="the class 'liver' is absent from the label map") as caught:
        simulate_scribbles(label_map(), LAS, {"ball": 1, "liver": 7}, BACKGROUND, 0)
    assert caught.value.expected == "voxels with the value 7"


@pytest.mark.parametrize("value", [0, 3])
def test_the_background_needs_its_own_value(value):
    with pytest.raises(BundleError, match="the background scribble needs a value of its own"):
        simulate_scribbles(label_map(), LAS, CLASSES, value, 0)


def test_no_room_for_the_background_is_an_error():
    with pytest.raises(BundleError, match="no voxel is left for background strokes"):
        simulate_scribbles(np.ones((4, 4, 4), dtype=np.uint8), np.eye(4), {"all": 1}, 2, 0)


def test_in_a_narrow_gap_the_background_comes_closer_than_the_margin():
    x, y, z = np.ogrid[:7, :7, :7]
    label = ((x - 3) ** 2 + (y - 3) ** 2 + (z - 3) ** 2 <= 6).astype(np.uint8)
    scribbles = simulate_scribbles(label, np.eye(4), {"ball": 1}, 2, 0)
    assert (scribbles == 2).any()
    assert (label[scribbles == 2] == 0).all()
