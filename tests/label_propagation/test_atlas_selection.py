import numpy as np
import pytest

from scripts.label_propagation.atlas_selection import AtlasPrediction, fuse_labels, select_atlases
from tests.prnet_fixtures import CLASSES

NAMES = tuple(CLASSES)


def chosen(most, least_dice=0.5):
    returned = {
        "support": (1.0, 1.0),
        "a": (0.9, 0.6),
        "b": (0.7, 0.8),
        "c": (0.95, 0.4),
        "d": (0.7, 0.7),
        "e": (0.4, 0.3),
    }
    records = {case: {"round_trip_dice": dict(zip(NAMES, dice, strict=True))} for case, dice in returned.items()}
    return select_atlases(records, ["support"], most, least_dice)


def test_the_best_cases_help_with_what_returned_from_them():
    assert chosen(9) == {"b": NAMES, "d": NAMES, "a": NAMES, "c": NAMES[:1]}
    assert list(chosen(9)) == ["b", "d", "a", "c"], "most classes first, then the best worst one"
    assert list(chosen(2)) == ["b", "d"] and chosen(0) == {}
    assert chosen(9, least_dice=0.99) == {}


def prediction(probabilities, similarity=0.5, classes=NAMES):
    """One voxel."""
    return AtlasPrediction(np.array(probabilities, dtype=np.float32).reshape(3, 1, 1, 1), similarity, classes)


def test_weights_are_the_softmax_of_similarity():
    fused, weights = fuse_labels({"s": prediction((0.2, 0.8, 0.0)), "h": prediction((0.6, 0.0, 0.4), 0.4)}, NAMES, 0.1)
    share = 1 / (1 + np.exp(-1))
    assert weights["s"] == dict.fromkeys(NAMES, pytest.approx(share, abs=1e-4))
    assert fused.ravel().tolist() == pytest.approx([0.2 * share + 0.6 * (1 - share), 0.8 * share, 0.4 * (1 - share)])


def test_a_voter_is_not_heard_about_other_classes():
    predictions = {"s": prediction((0.2, 0.0, 0.8)), "h": prediction((0.2, 0.6, 0.2), classes=NAMES[:1])}
    fused, weights = fuse_labels(predictions, NAMES, 0.1)
    assert weights == {"s": {NAMES[0]: 0.5, NAMES[1]: 1.0}, "h": {NAMES[0]: 0.5}}
    claimed = 0.3 + 0.8  # more than all: each gets its share, nothing is left for the background
    assert fused.ravel().tolist() == pytest.approx([0.0, 0.3 / claimed, 0.8 / claimed])


def test_a_class_that_nobody_is_heard_about_has_no_probability():
    fused, weights = fuse_labels({"h": prediction((0.2, 0.6, 0.2), classes=NAMES[:1])}, NAMES, 0.1)
    assert weights == {"h": {NAMES[0]: 1.0}}
    assert fused.ravel().tolist() == pytest.approx([0.4, 0.6, 0.0])
