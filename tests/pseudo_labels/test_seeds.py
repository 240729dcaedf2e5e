import numpy as np
import pytest

from scripts.pseudo_labels.seeds import completed_seeds, seeds_from_points, seeds_from_probabilities, seeds_in_body
from tests.pseudo_labels.three_blocks import CLASSES, Point, point_set

AFFINE = np.array([[2.0, 0, 0, 10], [0, 2.5, 0, -20], [0, 0, 3.0, 30], [0, 0, 0, 1]])


def channels_of(points, shape=(6, 5, 4)):
    """Voxel -> channels with a seed there."""
    seeds = seeds_from_points(point_set(points, AFFINE), CLASSES, AFFINE, shape)
    assert seeds.shape == (4, *shape) and seeds.dtype == bool
    return {tuple(map(int, voxel)): int(channel) for channel, *voxel in np.argwhere(seeds)}


def test_a_kept_point_is_a_seed_of_its_channel_at_the_nearest_voxel():
    points = [Point("liver", (1, 2, 3)), Point("background", (0, 0, 0)), Point("spleen", (4, 4, 1), kept=False)]
    assert channels_of(points) == {(1, 2, 3): 3, (0, 0, 0): 0}


def test_a_point_outside_the_volume_is_at_its_edge():
    assert channels_of([Point("spleen", (-40, 2, 9))]) == {(0, 2, 3): 1}


@pytest.mark.parametrize("turned", [False, True])
def test_on_a_shared_voxel_classes_beat_background_and_the_score_decides(turned):
    points = [
        *(Point("liver", (1, 1, 1), 0.3), Point("spleen", (1, 1, 1), 0.6), Point("background", (1, 1, 1), 0.9)),
        *(Point("left_kidney", (2, 1, 1), 0.1), Point("background", (2, 1, 1), 0.9)),
    ]
    assert channels_of(points[::-1] if turned else points) == {(1, 1, 1): 1, (2, 1, 1): 2}


def test_seeds_are_where_a_class_is_beyond_doubt():
    probabilities = np.array([[0.9, 0.3, 0.1], [0.1, 0.7, 0.9]], dtype=np.float32).reshape(2, 3, 1, 1)
    assert seeds_from_probabilities(probabilities, 0.8)[:, :, 0, 0].tolist() == [
        [True, False, False],
        [False, False, True],
    ]
    assert seeds_from_probabilities(probabilities, 0.6, 0.95)[:, :, 0, 0].tolist() == [
        [False, False, False],
        [False, True, True],
    ]


@pytest.mark.parametrize("limits", [(0.5,), (0.8, 0.5)])
def test_limits_that_allow_two_classes_on_a_voxel_are_refused(limits):
    with pytest.raises(ValueError, match="above one half"):
        seeds_from_probabilities(np.zeros((2, 1, 1, 1)), *limits)


def test_a_class_without_seeds_takes_its_points_where_no_other_class_is():
    seeds = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool).reshape(3, 4, 1, 1)
    points = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], dtype=bool).reshape(3, 4, 1, 1)
    completed = completed_seeds(seeds, points)[:, :, 0, 0].astype(int).tolist()
    assert completed == [[0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert not seeds[1].any(), "the seeds stay"


def test_outside_the_body_is_background_and_nothing_else():
    seeds = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=bool).reshape(3, 3, 1, 1)
    body = np.array([False, True, True]).reshape(3, 1, 1)
    within = seeds_in_body(seeds, body)[:, :, 0, 0].astype(int).tolist()
    assert within == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert seeds[1].any(), "the seeds stay"
