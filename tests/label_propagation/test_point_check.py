import numpy as np
import pytest

from scripts.common.label_channels import LabelChannels
from scripts.data.records import KEPT, PointSet
from scripts.label_propagation.point_check import LOW_PROBABILITY, check_points
from scripts.points.denoising import CYCLE, TISSUE

AFFINE = np.array([[2.0, 0, 0, 10], [0, 3.0, 0, 0], [0, 0, 5.0, -4], [0, 0, 0, 1]])
CLASSES = LabelChannels({"liver": 3, "spleen": 6})


def probabilities():
    """16 voxels along x: class 3 sure in 0 and 1, likely in 2 and 3, class 6 sure in 14 and 15, background between."""
    shares = np.zeros((3, 16, 1, 1))
    shares[1, :2], shares[1, 2:4], shares[2, 14:] = 0.9, 0.6, 0.9
    shares[0] = 1 - shares[1] - shares[2]
    return shares


def points(*rows):
    """Of (label, voxel along x, reason)."""
    labels, x, reasons = zip(*rows, strict=True)
    voxels = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    located_mm = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    scores = np.linspace(0.5, 0.9, len(labels))
    margin = {"margin": scores}
    kept = np.array(reasons, dtype=object)
    return PointSet(np.array(labels), voxels, located_mm, located_mm, voxels, scores, kept, evidence=margin)


def judged(*rows, reach_mm=10.0, shares=None):
    shares = probabilities() if shares is None else shares
    return check_points(points(*rows), shares, CLASSES, AFFINE, 0.8, reach_mm)


def test_a_point_stays_where_its_class_is_beyond_doubt():
    one = judged((3, 1, CYCLE))
    assert one.reasons.tolist() == [KEPT] and one.evidence["moved_mm"].tolist() == [0.0]
    assert one.working_voxels.tolist() == [[1, 0, 0]] and one.located_mm.tolist() == [[12.0, 0.0, -4.0]]


def test_wrong_tissue_counts_where_a_point_stays():
    assert judged((3, 1, TISSUE)).reasons.tolist() == [TISSUE]


def test_a_point_in_doubt_moves_to_the_nearest_place_without():
    one = judged((3, 3, TISSUE))
    assert one.evidence["moved_mm"].tolist() == [4.0], "two voxels of 2 mm"
    assert one.located_mm.tolist() == [[12.0, 0.0, -4.0]] and one.working_voxels.tolist() == [[1, 0, 0]]
    assert one.reasons.tolist() == [KEPT], "of the tissue where it is now nobody knows"


@pytest.mark.parametrize("label", [3, 6])
def test_a_point_far_from_its_class_is_dropped_where_it_is(label):
    one = judged((label, 8, KEPT), reach_mm=6.0)
    assert one.reasons.tolist() == [LOW_PROBABILITY] and one.working_voxels.tolist() == [[8, 0, 0]]
    assert one.evidence["moved_mm"].tolist() == [0.0]


def test_a_point_exactly_within_reach_is_moved():
    assert judged((3, 4, KEPT), reach_mm=6.0).kept.tolist() == [True], "three voxels of 2 mm"


def test_background_is_a_class_like_any_other():
    assert judged((0, 1, KEPT), (0, 8, KEPT), reach_mm=4.0).kept.tolist() == [False, True]


def test_a_class_without_a_likely_voxel():
    empty = probabilities()
    empty[0] += empty[2]
    empty[2] = 0
    assert judged((6, 14, KEPT), reach_mm=1000.0, shares=empty).kept.tolist() == [False]


def test_many_points_are_judged_as_each_alone():
    rows = [(3, 1, CYCLE), (6, 12, KEPT), (0, 3, TISSUE), (3, 3, KEPT), (6, 8, KEPT)]
    together, alone = judged(*rows), [judged(row) for row in rows]
    assert together.reasons.tolist() == [one.reasons[0] for one in alone]
    assert together.located_mm.tolist() == [one.located_mm[0].tolist() for one in alone]
    assert together.evidence["moved_mm"].tolist() == [one.evidence["moved_mm"][0] for one in alone]


def test_what_else_is_known_of_a_point_stays():
    before = points((3, 3, KEPT))
    one = judged((3, 3, KEPT))
    assert one.evidence["margin"].tolist() == [0.5] and one.scores.tolist() == [0.5]
    assert one.support_mm.tolist() == before.support_mm.tolist()
    assert before.working_voxels.tolist() == [[3, 0, 0]], "the argument is as it was"


def test_no_points():
    assert len(check_points(PointSet.empty(), probabilities(), CLASSES, AFFINE, 0.8, 10.0)) == 0
