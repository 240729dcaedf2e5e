"""From distances to labels on the case's own grid."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.common.label_channels import UNDECIDED
from scripts.pseudo_labels.label_resampling import label_on_grid
from tests.pseudo_labels.three_blocks import FROM_POINTS

AFFINE = np.diag([4.0, 2.0, 3.0, 1.0])


def line(*values):
    """Distances (2, X, 2, 2) that change along x alone."""
    return np.broadcast_to(np.array(values, dtype=np.float32)[:, :, None, None], (2, len(values[0]), 2, 2)).copy()


def label_along_x(distances, shape=None, affine=AFFINE, **settings):
    label = label_on_grid(distances, AFFINE, shape or distances.shape[1:], affine, replace(FROM_POINTS, **settings))
    assert label.dtype == np.uint8
    return label[:, 0, 0].tolist()


def test_distances_are_made_finer_before_they_are_compared():
    """Voxels of 1 mm between those of 4 mm: 0.1 to 0.9 against 0.4 cross at three eighths, after 1.5 mm."""
    finer = np.diag([1.0, 2.0, 3.0, 1.0])
    distances = line([0.4, 0.4], [0.1, 0.9])
    assert label_along_x(distances, (5, 2, 2), finer) == [1, 1, 0, 0, 0]


def test_the_case_may_have_its_axes_the_other_way():
    flipped = np.array([[-4.0, 0, 0, 8], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    distances = line([0.4, 0.4, 0.4], [0.1, 0.9, 0.9])
    assert label_along_x(distances) == [1, 0, 0]
    assert label_along_x(distances, affine=flipped) == [0, 0, 1]


def test_the_largest_component_is_a_setting():
    distances = line([0.4] * 5, [0.1, 0.1, 0.9, 0.9, 0.1])
    assert label_along_x(distances) == [1, 1, 0, 0, 0]
    assert label_along_x(distances, largest_component=False) == [1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, [1, 1, 0, 0]), (0.25, [1, UNDECIDED, UNDECIDED, 0]), (0.1, [1, 1, UNDECIDED, 0])]
)
def test_what_two_classes_claim_alike_is_undecided_but_not_where_neither_claims_it(margin, expected):
    """Differences of 0.25, 0.0625 and 0.03125, in shares of a truncation of 0.5: 0.5, 0.125, 0.0625."""
    distances = line([0.375, 0.1875, 0.125, 0.5], [0.125, 0.125, 0.15625, 0.5])
    assert label_along_x(distances, truncation=0.5, undecided_margin=margin) == expected
