"""Geodesic masks and likely voxels, along a line of voxels."""

import numpy as np
import pytest

from scripts.pseudo_labels.class_decision import decided_by_class
from scripts.pseudo_labels.class_probabilities import ClassProbabilities

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
SURE = (0.9, 0.9, 0.0, 0.0, 0.0, 0.0)


def decided(label, *classes, least_share=0.9, affine=AFFINE):
    """Channels along the line, from those of the geodesic masks and the probabilities of each class."""
    shares = np.array(classes, dtype=np.float32)[:, :, None, None]
    probabilities = ClassProbabilities(np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares]), AFFINE)
    geodesic = np.array(label, dtype=np.uint8)[:, None, None]
    before = geodesic.copy()
    result = decided_by_class(geodesic, affine, probabilities, least_share)
    np.testing.assert_array_equal(geodesic, before)
    assert result.dtype == np.uint8
    return result[:, 0, 0].tolist()


def test_a_mask_that_fits_stays_and_a_lost_class_has_its_likely_voxels():
    assert decided([1, 1, 0, 0, 0, 0], SURE, (0, 0, 0, 0.4, 0.4, 0.1)) == [1, 1, 0, 2, 2, 0]


@pytest.mark.parametrize(("least_share", "expected"), [(0.5, [1, 1, 1, 1, 1, 0]), (0.6, [1, 1, 0, 0, 0, 0])])
def test_a_mask_that_leaked_stays_up_to_the_least_share(least_share, expected):
    """Expected Dice 3.6 / 6.8 = 0.53, of the likely voxels 3.6 / 3.8 = 0.95: a share of 0.56."""
    assert decided([1, 1, 1, 1, 1, 0], SURE, least_share=least_share) == expected


@pytest.mark.parametrize(("probability", "expected"), [(0.3, [1, 1, 1, 2, 0]), (0.5, [1, 1, 2, 2, 0])])
def test_of_two_classes_the_more_probable_has_the_voxel(probability, expected):
    """The first class keeps its mask; the third voxel is of 0.4 there. The second has no geodesic mask."""
    assert decided([1, 1, 1, 0, 0], (0.9, 0.9, 0.4, 0, 0), (0, 0, probability, 0.5, 0)) == expected


def test_likely_voxels_are_found_on_the_finer_grid():
    """Voxels of 1 mm between those of 2 mm: 0.4 at 4 and 6 mm, so 0.4 at 5 mm, and 0.2 at 3 and 7 mm."""
    finer = np.diag([1.0, 3.0, 5.0, 1.0])
    label = decided([0] * 11, (0, 0, 0.4, 0.4, 0, 0), affine=finer)
    assert label == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0]


def test_a_class_without_probability_stays_without_a_mask():
    assert decided([1, 1, 0, 0, 0, 0], SURE, (0,) * 6) == [1, 1, 0, 0, 0, 0]
