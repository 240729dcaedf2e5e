import numpy as np
import pytest
import torch

from scripts.segmentation.correction.agreement import is_settled
from scripts.segmentation.correction.training_agreement import overlap_counts


def exponential(epochs, most=0.8, scale=2.0):
    """Rises most at first; its slope falls to a tenth of that ln(10) * scale epochs later."""
    return most * -np.expm1(-np.arange(1, epochs + 1) / scale)


@pytest.mark.parametrize(("epochs", "settled"), [(3, False), (5, False), (6, True), (20, True)])
def test_a_class_is_settled_once_its_slope_fell_to_a_tenth(epochs, settled):
    assert is_settled(exponential(epochs), settled_slope=0.1) is settled


def test_a_class_that_is_not_learnt_yet_or_learnt_late_is_not_settled():
    assert not is_settled([0.0, 0.0, 0.01, 0.05, 0.1, 0.2], 0.1)
    x = np.arange(1, 15)
    late = 0.8 * -np.expm1(-(x**3) / 400.0)  # steepest near 6
    assert not is_settled(late[:6], 0.1)
    assert is_settled(late, 0.1)


def test_overlap_counts_decided_voxels_of_located_classes():
    label = torch.tensor([[1, 1, 2, 3], [1, 2, 0, 0]]).reshape(2, 1, 4, 1, 1)
    said = torch.tensor([[1, 0, 2, 1], [1, 0, 2, 0]])
    logits = 10.0 * torch.nn.functional.one_hot(said, 3).movedim(-1, 1).reshape(2, 3, 4, 1, 1)
    located = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert overlap_counts(logits, label, located).tolist() == [[2, 1], [3, 1]]
