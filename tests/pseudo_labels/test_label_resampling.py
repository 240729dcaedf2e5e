"""From distances and class probabilities to labels on the case's own grid."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from scripts.common.affines import between_grids
from scripts.common.boxes import slabs_of
from scripts.common.label_channels import UNDECIDED
from scripts.common.overlap import best_mask, expected_dice
from scripts.common.sampling import onto_grid
from scripts.data.probability_maps import ClassProbabilities
from scripts.pseudo_labels import label_resampling
from scripts.pseudo_labels.label_resampling import decided_by_class, label_on_grid
from tests.pseudo_labels.three_blocks import FROM_POINTS

AFFINE = np.diag([4.0, 2.0, 3.0, 1.0])


def line(*values):
    """Distances (2, X, 2, 2) that change along x alone."""
    return np.broadcast_to(np.array(values, dtype=np.float32)[:, :, None, None], (2, len(values[0]), 2, 2)).copy()


def label_along_x(distances, shape=None, affine=AFFINE, parts=None, **settings):
    chosen = replace(FROM_POINTS, **settings)
    label = label_on_grid(distances, AFFINE, shape or distances.shape[1:], affine, chosen, parts=parts)
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
    assert label_along_x(distances, parts={1: 2}) == [1, 1, 0, 0, 1], "the support's organ is in two parts"


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, [1, 1, 0, 0]), (0.25, [1, UNDECIDED, UNDECIDED, 0]), (0.1, [1, 1, UNDECIDED, 0])]
)
def test_what_two_classes_claim_alike_is_undecided_but_not_where_neither_claims_it(margin, expected):
    """Differences of 0.25, 0.0625 and 0.03125, in shares of a truncation of 0.5: 0.5, 0.125, 0.0625."""
    distances = line([0.375, 0.1875, 0.125, 0.5], [0.125, 0.125, 0.15625, 0.5])
    assert label_along_x(distances, truncation=0.5, undecided_margin=margin) == expected


# Along a line of voxels: geodesic masks against likely voxels.
DECIDED = np.diag([2.0, 3.0, 5.0, 1.0])
SURE = (0.9, 0.9, 0.0, 0.0, 0.0, 0.0)


def decided(label, *classes, least_share=0.9, affine=DECIDED, with_edges=()):
    """Channels along the line, from those of the geodesic masks and the probabilities of each class."""
    shares = np.array(classes, dtype=np.float32)[:, :, None, None]
    probabilities = ClassProbabilities(np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares]), DECIDED)
    geodesic = np.array(label, dtype=np.uint8)[:, None, None]
    before = geodesic.copy()
    result = decided_by_class(geodesic, affine, probabilities, least_share, with_edges)
    np.testing.assert_array_equal(geodesic, before)
    assert result.dtype == np.uint8
    return result[:, 0, 0].tolist()


def test_a_mask_that_fits_stays_and_a_lost_class_has_its_likely_voxels():
    assert decided([1, 1, 0, 0, 0, 0], SURE, (0, 0, 0, 0.4, 0.4, 0.1)) == [1, 1, 0, 2, 2, 0]


@pytest.mark.parametrize(("least_share", "expected"), [(0.5, [1, 1, 1, 1, 1, 0]), (0.6, [1, 1, 0, 0, 0, 0])])
def test_a_mask_that_leaked_stays_up_to_the_least_share(least_share, expected):
    """Expected Dice 3.6 / 6.8 = 0.53, of the likely voxels 3.6 / 3.8 = 0.95: a share of 0.56."""
    assert decided([1, 1, 1, 1, 1, 0], SURE, least_share=least_share) == expected


def test_a_mask_with_edges_inside_stays_only_if_it_costs_nothing():
    """Expected Dice 2 * 1.8 / (2 + 2.5) = 0.8 with the limit at 0.7, all three voxels 2 * 2.5 / (3 + 2.5) = 0.91."""
    shares = (0.9, 0.9, 0.7, 0, 0, 0)
    assert decided([1, 1, 0, 0, 0, 0], shares, least_share=0.8) == [1, 1, 0, 0, 0, 0]
    assert decided([1, 1, 0, 0, 0, 0], shares, least_share=0.8, with_edges=[2]) == [1, 1, 0, 0, 0, 0]
    assert decided([1, 1, 0, 0, 0, 0], shares, least_share=0.8, with_edges=[1]) == [1, 1, 1, 0, 0, 0]
    assert decided([1, 1, 1, 0, 0, 0], shares, least_share=0.8, with_edges=[1]) == [1, 1, 1, 0, 0, 0]


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


def test_grids_whose_axes_are_not_parallel_are_an_error():
    sheared = DECIDED.copy()
    sheared[0, 2] = 1.0
    with pytest.raises(ValueError, match="not parallel"):
        decided([1, 1, 0, 0, 0, 0], SURE, affine=sheared)
    with pytest.raises(ValueError, match="not parallel"):
        label_along_x(line([0.4, 0.4], [0.1, 0.9]), affine=AFFINE @ np.linalg.inv(DECIDED) @ sheared)


def decided_on_the_whole_grid(label, affine, probabilities, least_share):
    """As `decided_by_class`, without boxes and slabs."""
    result, holder, changed = label.copy(), np.zeros(label.shape, dtype=np.float32), {}
    to_probabilities = between_grids(affine, probabilities.affine)
    for channel, coarse in enumerate(probabilities.array[1:], start=1):
        share = onto_grid(coarse, to_probabilities, label.shape, order=1, outside=0.0, parallel=True)
        geodesic, likely = label == channel, share >= best_mask(coarse).limit
        if expected_dice(geodesic, share) >= least_share * expected_dice(likely, share):
            holder[geodesic] = share[geodesic]
        else:
            result[geodesic] = 0
            changed[channel] = np.where(likely, share, 0)
    for channel, share in changed.items():
        taken = share > holder
        result[taken], holder[taken] = channel, share[taken]
    return result, list(changed)


@pytest.mark.parametrize("slab_voxels", [300, 2**24])
def test_boxes_and_slabs_decide_as_the_whole_grid_does(slab_voxels, monkeypatch):
    """Blurred blocks that overlap, on a finer grid that reaches beyond them; two of three geodesic masks fit badly."""
    monkeypatch.setattr(label_resampling, "slabs_of", partial(slabs_of, most_voxels=slab_voxels))
    shares = np.zeros((4, 12, 10, 8), dtype=np.float32)
    shares[1, 1:5, 2:8, 1:6], shares[2, 4:9, 1:6, 2:7], shares[3, 6:12, 4:9, 0:5] = 1, 1, 1
    shares = np.stack([ndimage.uniform_filter(share, 3) for share in shares])
    affine = np.diag([2.0, 1.5, 1.0, 1.0])
    affine[:3, 3] = -3.0, 2.0, -1.0
    label = np.zeros((28, 24, 40), dtype=np.uint8)
    label[3:12, 4:20, 4:28], label[14:16, 6:9, 10:14] = 1, 3
    probabilities = ClassProbabilities(shares, np.diag([4.0, 4.0, 5.0, 1.0]))
    expected, changed = decided_on_the_whole_grid(label, affine, probabilities, 0.9)
    assert changed == [2, 3] and len(np.unique(expected)) == 4
    assert np.array_equal(decided_by_class(label, affine, probabilities, 0.9), expected)
