"""The core of label fusion on a few voxels: no files, no network."""

import numpy as np
import pytest

from scripts.data.records import PointSet
from scripts.label_propagation.fuse_case import AtlasPrediction, FusionSettings, fuse_case, fuse_labels

CLASSES = {"spleen": 4, "liver": 2}
NAMES = list(CLASSES)
BOTH = {"spleen": 0.9, "liver": 0.6}


def prediction(probabilities, similarity=0.5, round_trip_dice=BOTH):
    """One voxel."""
    shares = np.array(probabilities, dtype=np.float32).reshape(3, 1, 1, 1)
    return AtlasPrediction(shares, similarity, round_trip_dice)


def test_weights_are_the_softmax_of_similarity():
    fused, weights = fuse_labels({"s": prediction((0.2, 0.8, 0.0)), "a": prediction((0.6, 0.0, 0.4), 0.4)}, NAMES, 0.1)
    share = 1 / (1 + np.exp(-1))
    assert weights["s"] == dict.fromkeys(NAMES, pytest.approx(share, abs=1e-4))
    assert fused.ravel().tolist() == pytest.approx([0.2 * share + 0.6 * (1 - share), 0.8 * share, 0.4 * (1 - share)])


def test_an_atlas_says_nothing_about_other_classes_than_its_own():
    predictions = {"s": prediction((0.2, 0.0, 0.8)), "a": prediction((0.2, 0.6, 0.2), round_trip_dice={"spleen": 0.9})}
    fused, weights = fuse_labels(predictions, NAMES, 0.1)
    assert weights == {"s": {"spleen": 0.5, "liver": 1.0}, "a": {"spleen": 0.5}}
    claimed = 0.3 + 0.8  # more than all: each gets its share, nothing is left for the background
    assert fused.ravel().tolist() == pytest.approx([0.0, 0.3 / claimed, 0.8 / claimed])


def test_a_class_without_an_atlas_has_no_probability():
    fused, weights = fuse_labels({"a": prediction((0.2, 0.6, 0.2), round_trip_dice={"spleen": 0.9})}, NAMES, 0.1)
    assert weights == {"a": {"spleen": 1.0}}
    assert fused.ravel().tolist() == pytest.approx([0.4, 0.6, 0.0])


def row(*shares):
    """(3, X, 1, 1) of a row of voxels, each with spleen and liver."""
    classes = np.array(shares, dtype=np.float32).T
    return np.stack([1 - classes.sum(axis=0), *classes])[:, :, None, None]


def fused_case(points):
    predictions = {
        "s": AtlasPrediction(row((0.9, 0.1), (0.9, 0.0), (0.0, 0.2)), 0.3, BOTH),
        "a": AtlasPrediction(row((0.1, 0.8), (1.0, 0.0), (0.0, 0.9)), 0.3, {"spleen": 0.5}),
    }
    return fuse_case(predictions, CLASSES, points, np.diag([3.0, 2.0, 1.0, 1.0]), FusionSettings())


def test_each_atlas_alone_in_label_values():
    fused = fused_case(PointSet.empty())
    assert list(fused.weights) == ["s", "a"] and fused.atlas_labels.dtype == np.uint8
    assert fused.atlas_labels[:, 0, 0].T.tolist() == [[4, 4, 2], [2, 4, 2]], "also of classes that it is no atlas of"


def test_the_mean_round_trip_dice_is_weighted():
    fused = fused_case(PointSet.empty())
    assert fused.mean_round_trip_dice == pytest.approx({"spleen": (0.9 + 0.5) / 2, "liver": 0.6})


def test_points_are_judged_by_what_all_say():
    """Spleen is 0.5, 0.95 and 0 in the three voxels: a point in the first moves to the second, 3 mm away."""
    voxels = np.array([[0, 0, 0]])
    nothing = np.array([""], dtype=object)
    points = PointSet(np.array([4]), voxels, voxels * 1.0, voxels * 3.0, voxels, np.ones(1), nothing)
    judged = fused_case(points).points
    assert judged.working_voxels.tolist() == [[1, 0, 0]] and judged.located_mm.tolist() == [[3.0, 0, 0]]
    assert judged.kept.tolist() == [True] and judged.evidence["moved_mm"].tolist() == [3.0]
