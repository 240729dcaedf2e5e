"""Boundary refinement on hand-made features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.common.errors import BundleError
from scripts.networks.prnet import PRNet
from scripts.pseudo_labels.boundary_refinement import dense_features, refine_boundary
from scripts.pseudo_labels.settings import RefinementSettings

SHAPE = (20, 18, 16)
SETTINGS = RefinementSettings(refine=True)
BOX = (slice(5, 14), slice(5, 13), slice(4, 12))


def _block(*sides, shape=SHAPE):
    mask = np.zeros(shape, dtype=bool)
    mask[sides] = True
    return mask


def _features(*masks, noise=0.0):
    """One-hot features: channel 0 outside all masks, channel k in mask k; lengths differ from voxel to voxel."""
    tissue = np.zeros((len(masks) + 1, *masks[0].shape), dtype=np.float32)
    tissue[0] = ~np.any(masks, axis=0)
    for channel, mask in enumerate(masks, start=1):
        tissue[channel] = mask
    rng = np.random.default_rng(0)
    return (tissue + noise * rng.random(tissue.shape)) * rng.uniform(0.5, 2.0, masks[0].shape).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("change", [ndimage.binary_dilation, ndimage.binary_erosion], ids=["too big", "too small"])
def test_a_mask_one_voxel_off_is_corrected_exactly(change, noise):
    truth = _block(*BOX)
    label = change(truth, np.ones((3, 3, 3))).astype(np.uint8)
    refined = refine_boundary(label, _features(truth, noise=noise), SETTINGS)
    assert refined.dtype == np.uint8
    np.testing.assert_array_equal(refined, truth)


def test_the_correction_is_symmetric():
    truth = _block(slice(5, 14), slice(5, 13), slice(4, 12))
    for axis in range(3):
        label = np.roll(truth, 1, axis).astype(np.uint8)
        np.testing.assert_array_equal(refine_boundary(label, _features(truth), SETTINGS), truth)
        label = np.roll(truth, -1, axis).astype(np.uint8)
        np.testing.assert_array_equal(refine_boundary(label, _features(truth), SETTINGS), truth)


def test_a_right_mask_stays():
    truth = _block(*BOX)
    np.testing.assert_array_equal(refine_boundary(truth.astype(np.uint8), _features(truth), SETTINGS), truth)


def test_a_class_cut_by_the_field_of_view_is_not_eroded_there():
    truth = _block(slice(0, 8), slice(5, 13), slice(0, 9))
    label = ndimage.binary_dilation(truth, np.ones((3, 3, 3))).astype(np.uint8)
    np.testing.assert_array_equal(refine_boundary(label, _features(truth), SETTINGS), truth)


def test_a_thin_class_and_an_absent_one_stay_as_they_are():
    truth = _block(*BOX)
    plate = _block(slice(1, 2), slice(2, 16), slice(2, 14))
    label = np.where(plate, 3, ndimage.binary_dilation(truth, np.ones((3, 3, 3)))).astype(np.uint8)
    refined = refine_boundary(label, _features(truth, plate), SETTINGS)
    np.testing.assert_array_equal(refined == 3, plate)
    np.testing.assert_array_equal(refined == 1, truth)
    assert not (refined == 2).any()


def test_a_class_that_fills_the_volume_stays():
    label = np.ones((8, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(refine_boundary(label, np.ones((2, 8, 8, 8)), SETTINGS), label)
    np.testing.assert_array_equal(refine_boundary(label * 0, np.ones((2, 8, 8, 8)), SETTINGS), label * 0)


def test_the_border_of_two_touching_classes_moves_to_where_the_tissue_changes():
    left, right = _block(slice(3, 10), *BOX[1:]), _block(slice(10, 17), *BOX[1:])
    drawn_left, drawn_right = _block(slice(3, 11), *BOX[1:]), _block(slice(11, 17), *BOX[1:])
    refined = refine_boundary(drawn_left + 2 * drawn_right.astype(np.uint8), _features(left, right), SETTINGS)
    np.testing.assert_array_equal(refined, left + 2 * right)


def test_a_voxel_both_classes_claim_goes_to_the_more_similar():
    left, right = _block(slice(2, 9), *BOX[1:]), _block(slice(10, 17), *BOX[1:])
    between = _block(slice(9, 10), *BOX[1:])
    features = _features(left, right)
    features[:, between] = np.array([[0.0], [0.6], [0.8]])
    refined = refine_boundary(left + 2 * right.astype(np.uint8), features, SETTINGS)
    np.testing.assert_array_equal(refined, left + 2 * (right | between))


def test_the_seed_decides_the_clusters():
    truth = _block(*BOX)
    label, features = truth.astype(np.uint8), np.random.default_rng(1).random((4, *SHAPE))
    first, second = (refine_boundary(label, features, RefinementSettings(refine_seed=3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_features_of_another_shape_are_named():
    label = np.zeros(SHAPE, dtype=np.uint8)
    with pytest.raises(BundleError, match=r"features do not fit(?s:.*)\(2, 4, 4, 4\)"):
        refine_boundary(label, np.zeros((2, 4, 4, 4)), SETTINGS)


def test_dense_features_of_one_window_are_the_networks_own():
    network = PRNet((32, 16, 16), width=2).eval()
    image = torch.rand(32, 16, 16)
    with torch.inference_mode():
        expected = network.dense_features(image[None, None])[0]
    features = dense_features(network, image.numpy(), (32, 16, 16))
    assert features.shape == (2, 32, 16, 16) and features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_dense_features_cover_volumes_larger_and_smaller_than_the_window():
    network = PRNet((32, 16, 16), width=2).eval()
    assert dense_features(network, np.random.rand(36, 17, 9), (32, 16, 16)).shape == (2, 36, 17, 9)
