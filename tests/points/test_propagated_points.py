import numpy as np
import pytest

from scripts.data.records import KEPT
from scripts.data.scribbles import ScribblePoints
from scripts.points.propagated_points import draw_kept, located_points, points_at_home

# Axes L, A, S; steps of 2, 4 and 5 mm.
AFFINE = np.array([[-2.0, 0, 0, 20], [0, 4, 0, -10], [0, 0, 5, 0], [0, 0, 0, 1]])
SHAPE = (5, 4, 3)
BACKGROUND_VALUE = 9
SCRIBBLES = ScribblePoints(
    labels=np.array([1, 3, 0]),
    voxels=np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2]]),
    world_mm=np.array([[20.0, -10, 0], [18, -6, 5], [16, -2, 10]]),
)


def located(voxels, scores, reasons=None):
    """The three scribble points at these voxels of the case."""
    located_mm = np.array(voxels) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    reasons = [KEPT] * 3 if reasons is None else reasons
    return located_points(SCRIBBLES, located_mm, np.array(voxels), np.array(scores), reasons)


def test_located_points_are_the_scribbles_and_what_was_found_out():
    points = located([[4, 3, 2], [1, 0, 0], [0, 0, 0]], [0.9, 0.8, 0.7], [KEPT, "similarity", KEPT])
    assert points.labels.tolist() == [1, 3, 0] and points.support_voxels.tolist() == SCRIBBLES.voxels.tolist()
    assert points.support_mm.tolist() == SCRIBBLES.world_mm.tolist()
    assert points.located_mm[0].tolist() == [12.0, 2.0, 10.0] and points.kept.tolist() == [True, False, True]
    assert points.similarities == {} and points.evidence == {}


def test_at_home_points_stay_with_score_1_on_the_working_grid():
    coarse = AFFINE @ np.diag([2.0, 2, 2, 1])
    points = points_at_home(SCRIBBLES, coarse, (2, 2, 2))
    assert points.located_mm.tolist() == SCRIBBLES.world_mm.tolist()
    assert points.scores.tolist() == [1, 1, 1] and points.kept.all()
    assert points.working_voxels.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]], "halves go to the even voxel"


def test_kept_points_are_drawn_on_the_case_s_grid():
    points = located([[4, 3, 2], [1, 0, 0], [0, 0, 0]], [0.9, 0.8, 0.7], [KEPT, "similarity", KEPT])
    drawn = draw_kept(points, AFFINE, SHAPE, BACKGROUND_VALUE)
    assert drawn.dtype == np.uint8 and drawn.shape == SHAPE
    assert {tuple(voxel): drawn[tuple(voxel)] for voxel in np.argwhere(drawn)} == {(4, 3, 2): 1, (0, 0, 0): 9}


@pytest.mark.parametrize(("scores", "winner"), [([0.9, 0.8, 1.0], 1), ([0.7, 0.8, 1.0], 3)])
def test_in_one_voxel_foreground_goes_over_background_and_the_higher_score_over_the_lower(scores, winner):
    drawn = draw_kept(located([[2, 2, 2]] * 3, scores), AFFINE, SHAPE, BACKGROUND_VALUE)
    assert drawn[2, 2, 2] == winner and np.count_nonzero(drawn) == 1


def test_the_drawing_is_the_record_s():
    points = located([[2, 2, 2]] * 3, [0.90001, 0.9, 1.0])
    drawn = draw_kept(points, AFFINE, SHAPE, BACKGROUND_VALUE)
    assert drawn[2, 2, 2] == 3, "equal in four digits: the later one is drawn last"
    assert np.array_equal(drawn, draw_kept(points.rounded(), AFFINE, SHAPE, BACKGROUND_VALUE))


def test_no_points_draw_nothing():
    nothing = located([[2, 2, 2]] * 3, [1, 1, 1], ["tissue"] * 3)
    assert not draw_kept(nothing, AFFINE, SHAPE, BACKGROUND_VALUE).any()
