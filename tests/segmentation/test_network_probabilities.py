import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.segmentation.network_probabilities import BackgroundOutsideBodyd

BODY = np.s_[5:15, 6:14, 2:18]


def item(image, logits):
    return {"image": MetaTensor(image, affine=torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0]))), "pred": logits}


@pytest.fixture
def image():
    """(1, X, Y, Z): a block of soft tissue in air."""
    values = torch.zeros(1, 20, 20, 20)
    values[0][BODY] = 0.5
    return values


def test_no_class_lies_in_the_air_and_all_stays_inside(image):
    logits = torch.zeros(3, 20, 20, 20)
    logits[1], logits[2] = 5.0, -50.0
    bounded = BackgroundOutsideBodyd("pred")(item(image, logits.clone()))["pred"]
    inner, air = np.s_[:, 6:14, 7:13, 3:17], torch.ones(20, 20, 20, dtype=torch.bool)
    air[3:17, 4:16, 0:20] = False
    assert torch.equal(bounded[inner], logits[inner])
    assert (bounded.argmax(dim=0)[BODY] == 1).float().mean() > 0.95, "but for corners that no body has"
    assert bounded.softmax(dim=0)[1:, air].max() < 1e-8
    assert torch.equal(bounded[2], logits[2]), "what is below already stays"


def test_logits_of_the_item_given_are_left_as_they_are(image):
    logits = torch.ones(2, 20, 20, 20)
    BackgroundOutsideBodyd("pred")(item(image, logits))
    assert torch.equal(logits, torch.ones(2, 20, 20, 20))


def test_where_no_body_is_found_all_stays():
    logits = torch.ones(2, 20, 20, 20)
    bounded = BackgroundOutsideBodyd("pred")(item(torch.zeros(1, 20, 20, 20), logits))["pred"]
    assert torch.equal(bounded, logits)
