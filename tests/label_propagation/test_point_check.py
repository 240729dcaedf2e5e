import numpy as np
import pytest

from scripts.label_propagation.first_round import CYCLE
from scripts.label_propagation.point_check import LOW_PROBABILITY, check_points
from scripts.points.denoising import KEPT, TISSUE

AFFINE = np.array([[2.0, 0, 0, 10], [0, 3.0, 0, 0], [0, 0, 5.0, -4], [0, 0, 0, 1]])
VALUES = [3, 6]


def probabilities():
    """16 voxels along x: class 3 sure in 0 and 1, likely in 2 and 3, class 6 sure in 14 and 15, background between."""
    found = np.zeros((3, 16, 1, 1))
    found[1, :2], found[1, 2:4], found[2, 14:] = 0.9, 0.6, 0.9
    found[0] = 1 - found[1] - found[2]
    return found


def row(label, x, reason=KEPT):
    place_mm = (AFFINE @ [x, 0, 0, 1])[:3].tolist()
    return {
        "label": label,
        "working_voxel": [x, 0, 0],
        "located_mm": place_mm,
        "kept": reason == KEPT,
        "reason": reason,
    }


def judged(*rows, reach_mm=10.0):
    return check_points(rows, probabilities(), VALUES, AFFINE, 0.8, reach_mm)


def test_a_point_stays_where_its_class_is_beyond_doubt():
    (found,) = judged(row(3, 1, CYCLE))
    assert found["kept"] and found["reason"] == KEPT and found["moved_mm"] == 0 and found["working_voxel"] == [1, 0, 0]


def test_wrong_tissue_counts_where_a_point_stays():
    (found,) = judged(row(3, 1, TISSUE))
    assert not found["kept"] and found["reason"] == TISSUE


def test_a_point_in_doubt_moves_to_the_nearest_place_without():
    (found,) = judged(row(3, 3))
    assert found["moved_mm"] == 4.0, "two voxels of 2 mm"
    assert found["located_mm"] == [12.0, 0.0, -4.0] and found["working_voxel"] == [1, 0, 0] and found["kept"]


@pytest.mark.parametrize("label", [3, 6])
def test_a_point_far_from_its_class_is_dropped(label):
    (found,) = judged(row(label, 8), reach_mm=6.0)
    assert not found["kept"] and found["reason"] == LOW_PROBABILITY and found["working_voxel"] == [8, 0, 0]


def test_background_is_a_class_like_any_other():
    inside, outside = judged(row(0, 1), row(0, 8), reach_mm=4.0)
    assert not inside["kept"] and outside["kept"]


def test_a_class_nobody_votes_for():
    empty = probabilities()
    empty[0] += empty[2]
    empty[2] = 0
    (found,) = check_points([row(6, 14)], empty, VALUES, AFFINE, 0.8, 1000.0)
    assert not found["kept"]
