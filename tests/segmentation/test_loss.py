import math

import pytest
import torch

from scripts.segmentation.loss import LocatedDiceCELoss, merge_unlocated

# two voxels, background and two classes; probabilities chosen by hand
P = torch.tensor([[[0.5, 0.2], [0.3, 0.2], [0.2, 0.6]]]).reshape(1, 3, 2, 1, 1)
LABEL = torch.tensor([0, 2]).reshape(1, 1, 2, 1, 1)


def target(located, label=LABEL):
    return {"label": label, "located": torch.tensor([located])}


def test_softmax_is_applied_once_and_terms_weigh_the_same():
    ce = -(math.log(0.5) + math.log(0.6)) / 2
    dice = [
        1 - (2 * 0.5 + 1) / (0.7 + 1 + 1),
        1 - (0 + 1) / (0.5 + 0 + 1),
        1 - (2 * 0.6 + 1) / (0.8 + 1 + 1),
    ]
    expected = ce + sum(dice) / 3
    assert LocatedDiceCELoss()(P.log(), target([1.0, 1.0])).item() == pytest.approx(expected, rel=1e-5)
    logits_shifted = P.log() + 7  # softmax does not see a constant, a second softmax would
    assert LocatedDiceCELoss()(logits_shifted, target([1.0, 1.0])).item() == pytest.approx(expected, rel=1e-5)


def test_unlocated_class_is_merged_with_background_and_has_no_dice():
    # class 2 not located: p0' = 0.7, 0.8; the voxel labelled 2 counts as background
    ce = -(math.log(0.7) + math.log(0.8)) / 2
    background = 1 - (2 * 1.5 + 1) / (1.5 + 2 + 1)
    first = 1 - (0 + 1) / (0.5 + 0 + 1)
    expected = ce + (background + first) / 2
    assert LocatedDiceCELoss()(P.log(), target([1.0, 0.0])).item() == pytest.approx(expected, rel=1e-5)


def test_merged_probabilities_and_their_gradient():
    logits = P.log().requires_grad_()
    merged = merge_unlocated(logits, torch.tensor([[True, False]]))
    probability = torch.softmax(merged, dim=1)[0, :, :, 0, 0]
    assert torch.allclose(probability, torch.tensor([[0.7, 0.8], [0.3, 0.2], [0.0, 0.0]]), atol=1e-6)
    merged[:, 0].sum().backward()  # d logsumexp: each hidden class gets its share
    shares = logits.grad[0, :, :, 0, 0]
    assert torch.allclose(shares, torch.tensor([[5 / 7, 0.25], [0, 0], [2 / 7, 0.75]]), atol=1e-6)


def test_a_sample_does_not_lose_a_class_because_another_lacks_it():
    logits = torch.cat([P.log(), P.log()])
    both = {"label": torch.cat([LABEL, LABEL]), "located": torch.tensor([[1.0, 1.0], [1.0, 0.0]])}
    dice = [
        1 - (2 * (0.5 + 1.5) + 1) / (0.7 + 1.5 + 3 + 1),
        1 - (0 + 1) / (1.0 + 0 + 1),
        1 - (2 * 0.6 + 1) / (0.8 + 1 + 1),  # the second sample contributes nothing
    ]
    ce = -(math.log(0.5) + math.log(0.6) + math.log(0.7) + math.log(0.8)) / 4
    assert LocatedDiceCELoss()(logits, both).item() == pytest.approx(ce + sum(dice) / 3, rel=1e-5)


def test_weights_and_bfloat16_logits():
    only_ce = LocatedDiceCELoss(dice_weight=0.0)
    expected = -(math.log(0.5) + math.log(0.6)) / 2
    loss = only_ce(P.log().bfloat16(), target([1.0, 1.0]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.02)


def test_undecided_voxels_teach_nothing():
    """The loss of a volume whose undecided half is anything equals the loss of the decided half."""
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 4, 2, 2), torch.randint(0, 3, (1, 1, 4, 2, 2))
    target = {"label": label, "located": torch.ones(1, 2)}
    half = {"label": label[:, :, :2], "located": torch.ones(1, 2)}
    label = label.clone()
    label[:, :, 2:] = 3
    logits.requires_grad_()
    loss = LocatedDiceCELoss()(logits, {**target, "label": label})
    torch.testing.assert_close(loss, LocatedDiceCELoss()(logits[:, :, :2], half))
    loss.backward()
    assert (logits.grad[:, :, 2:] == 0).all() and (logits.grad[:, :, :2] != 0).all()


def test_nothing_decided_at_all():
    loss = LocatedDiceCELoss()(
        torch.randn(1, 2, 2, 2, 2), {"label": torch.full((1, 1, 2, 2, 2), 2), "located": torch.ones(1, 1)}
    )
    assert torch.isfinite(loss)


def test_rare_classes_weigh_more_when_balanced():
    logits = torch.cat([P, P], dim=2).log()
    label = torch.tensor([0, 0, 0, 2]).reshape(1, 1, 4, 1, 1)
    often, rarely = 1 / 0.751, 1 / 0.251
    ce = -(often * (2 * math.log(0.5) + math.log(0.2)) + rarely * math.log(0.6)) / (3 * often + rarely)
    loss = LocatedDiceCELoss(dice_weight=0.0, class_balance=1.0)
    assert loss(logits, target([1.0, 1.0], label)).item() == pytest.approx(ce, rel=1e-5)
    often, rarely = 1 / (0.75 + 0.25), 1 / (0.25 + 0.25)
    ce = -(often * (2 * math.log(0.5) + math.log(0.2)) + rarely * math.log(0.6)) / (3 * often + rarely)
    loss = LocatedDiceCELoss(dice_weight=0.0, class_balance=1.0, least_share=0.25)
    assert loss(logits, target([1.0, 1.0], label)).item() == pytest.approx(ce, rel=1e-5)
