import math

import pytest
import torch
from monai.utils import CommonKeys

from scripts.embedding.contrastive_loss import ContrastiveLoss, MatchErrorMm


def oracle(places_mm, dimensions=3):
    """Embeddings of stride-2 windows whose cell i along x is unit vector i, with points on the cells' centres."""
    count = places_mm.shape[1]
    cells = torch.eye(dimensions)[:count].T.reshape(1, dimensions, count, 1, 1)
    voxels = torch.stack([torch.arange(count) * 2 + 0.5, torch.full((count,), 0.5), torch.full((count,), 0.5)], dim=1)
    target = {"voxels": voxels[None].expand(2, -1, -1), "places_mm": places_mm}
    return {"fine": cells.expand(2, -1, -1, -1, -1)}, target


def test_infonce_by_hand():
    output, target = oracle(torch.tensor([[[0.0, 0, 0], [100, 0, 0], [200, 0, 0]]]))
    loss = ContrastiveLoss(temperature=1.0, near_mm={"fine": 12.0})(output, target)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)), abs=1e-5)


def test_near_points_are_neither_right_nor_wrong():
    output, target = oracle(torch.tensor([[[0.0, 0, 0], [11, 0, 0], [200, 0, 0]]]))
    loss = ContrastiveLoss(temperature=1.0, near_mm={"fine": 12.0})(output, target)
    near, alone = -math.log(math.e / (math.e + 1)), -math.log(math.e / (math.e + 2))
    assert loss.item() == pytest.approx((2 * near + alone) / 3, abs=1e-5)


def test_points_of_another_volume_are_wrong_however_near():
    output, target = oracle(torch.zeros(1, 1, 3), dimensions=1)
    two = {"voxels": target["voxels"].repeat(2, 1, 1), "places_mm": target["places_mm"].repeat(2, 1, 1)}
    loss = ContrastiveLoss(temperature=1.0, near_mm={"fine": 12.0})({"fine": output["fine"].repeat(2, 1, 1, 1, 1)}, two)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)


def test_match_error_by_hand():
    places = torch.tensor([[[0.0, 0, 0], [30, 40, 0], [200, 0, 0]]])
    output, target = oracle(places)
    perfect = {**output, "coarse": torch.ones(2, 1, 1, 1, 1)}
    assert MatchErrorMm()({CommonKeys.PRED: perfect, CommonKeys.LABEL: target}) == 0
    swapped = output["fine"].clone()
    swapped[1] = output["fine"][1][:, [1, 0, 2]]
    wrong = {CommonKeys.PRED: {**perfect, "fine": swapped}, CommonKeys.LABEL: target}
    assert MatchErrorMm()(wrong) == 50, "two of three points are found 50 mm away"
