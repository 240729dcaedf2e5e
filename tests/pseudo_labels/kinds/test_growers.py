import numpy as np
import pytest

from scripts.common.overlap import dice_of
from scripts.pseudo_labels.kinds.growers import drawing_axis, grown_by_kind
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings

SPACING_MM = (2.0, 2.0, 3.0)
SHAPE = (60, 60, 40)
SETTINGS = KindSettings()


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request, monkeypatch):
    """All classes by one thread, or by two: every result is the same."""
    monkeypatch.setattr("scripts.common.sharing.threads.allowed_threads", lambda: request.param)


def places():
    return np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")


def tube(centre_x, radius_mm=6.0):
    """A straight tube along z."""
    x, y, _ = places()
    return np.hypot(x - centre_x, y - 30) * 2.0 <= radius_mm


def scene():
    """Two tubes in darker tissue: the first leaks, as a blob, into a ball that looks alike and touches it."""
    x, y, z = places()
    ball = np.linalg.norm(np.stack([2.0 * (x - 29), 2.0 * (y - 30), 3.0 * (z - 20)]), axis=0) <= 12.0
    first, second = tube(20), tube(44)
    image = np.where(first | ball, 0.7, np.where(second, 0.62, 0.4))
    image += np.random.default_rng(0).normal(0, 0.01, SHAPE)
    strokes = np.zeros(SHAPE, dtype=np.uint8)
    for z_drawn in (5, 15, 25, 34):
        strokes[19:22, 30, z_drawn], strokes[43:46, 30, z_drawn] = 1, 2
    strokes[2:6, 2:6, ::8] = 3
    blobs = np.where(first | ball, 1, np.where(second, 2, 0)).astype(np.uint8)
    return image, strokes, blobs, first


def test_a_tube_does_not_leak_into_what_looks_alike_beside_it():
    image, strokes, blobs, first = scene()
    grown = grown_by_kind(image, strokes, blobs, 2, SPACING_MM, SETTINGS)
    assert grown.kinds == {1: Kind.TUBE, 2: Kind.TUBE}
    assert dice_of(blobs == 1, first) < 0.86 < 0.93 < dice_of(grown.label == 1, first)
    assert dice_of(grown.label == 2, tube(44)) > 0.95
    assert grown.agreement[1] < grown.agreement[2], "where there was a leak the growers agree less"


def test_it_does_not_matter_in_which_planes_strokes_are_drawn():
    image, strokes, blobs, _ = scene()
    grown = grown_by_kind(image, strokes, blobs, 2, SPACING_MM, SETTINGS)
    turned = grown_by_kind(
        *(np.moveaxis(array, 2, 0) for array in (image, strokes, blobs)), 2, (3.0, 2.0, 2.0), SETTINGS
    )
    np.testing.assert_array_equal(turned.label, np.moveaxis(grown.label, 2, 0))


def test_blobs_stay_as_they_are():
    image, strokes, blobs, _ = scene()
    grown = grown_by_kind(image, strokes, blobs, 2, SPACING_MM, KindSettings(tube_elongation=100.0))
    assert grown.kinds == {1: Kind.BLOB, 2: Kind.BLOB}
    np.testing.assert_array_equal(grown.label, blobs)


def test_a_wide_blob_is_not_compared_with_tubes():
    image, strokes, blobs, _ = scene()
    assert set(grown_by_kind(image, strokes, blobs, 2, SPACING_MM, SETTINGS).agreement) == {1, 2}
    assert grown_by_kind(image, strokes, blobs, 2, SPACING_MM, KindSettings(tube_width_mm=5.0)).agreement == {}


def test_a_bone_grows_from_its_threshold_and_its_blob_is_gone():
    image = np.full(SHAPE, 0.5)
    image[10:50, 29:31, 5:30] = 0.9
    strokes = np.zeros(SHAPE, dtype=np.uint8)
    strokes[20:40, 30, [8, 16, 24]], strokes[30, 50, 16] = 1, 2
    blobs = np.zeros(SHAPE, dtype=np.uint8)
    blobs[:5, :5, :5] = 1
    grown = grown_by_kind(image, strokes, blobs, 1, SPACING_MM, KindSettings(bone_reach_share=1.0))
    assert grown.kinds == {1: Kind.BONE}
    bone = image > 0.7
    bone[:, :, 29:] = False  # half a gap, four slices, beyond the last stroke, on 24
    np.testing.assert_array_equal(np.argwhere(grown.label == 1), np.argwhere(bone))


def test_the_axis_that_strokes_are_drawn_across():
    strokes = np.zeros((10, 10, 10), dtype=np.uint8)
    assert drawing_axis(strokes) == 2
    strokes[2:8, 4, 2:8] = strokes[3, 7, 3] = 1
    assert drawing_axis(strokes) == 1
