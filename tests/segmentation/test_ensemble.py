"""The network's probabilities and the votes of a case, on grids that differ."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.data.probability_maps import PROBABILITIES, read_probabilities, write_probabilities
from scripts.segmentation.ensemble import JoinProbabilitiesd

AFFINE = np.diag([3.0, 4.0, 5.0, 1.0])


def item(logits):
    image = MetaTensor(torch.zeros(1, *logits.shape[1:]), affine=torch.as_tensor(AFFINE))
    return {"case": "case_1", "image": image, "pred": logits}


def test_mean_of_network_and_votes_on_the_networks_grid(tmp_path):
    probabilities = np.zeros((2, 2, 2, 2))
    probabilities[0], probabilities[1, 0] = 1.0, 1.0
    probabilities[0, 0] = 0.0
    coarse = AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = AFFINE[:3, :3] @ [0.5, 0.5, 0.5]
    write_probabilities(tmp_path / "probabilities" / f"case_1{PROBABILITIES}", probabilities, coarse)
    write_json(tmp_path / "probabilities" / "case_1.json", {"points": [1, 2]})
    logits = torch.zeros(2, 4, 4, 4)
    logits[1, :, 0] = float(np.log(3.0))
    data = item(logits)
    assert JoinProbabilitiesd("pred", tmp_path / "probabilities", tmp_path / "out")(data).keys() == data.keys()
    assert torch.equal(data["pred"], logits)
    joined, affine = read_probabilities(tmp_path / "out" / "propagation" / f"case_1{PROBABILITIES}")
    assert joined.shape == (2, 4, 4, 4) and np.allclose(affine, AFFINE)
    assert np.allclose(joined.sum(axis=0), 1, atol=0.01)
    # The votes' centres lie at voxels 0.5 and 2.5; a quarter of the way from one to the other the vote is 3/4.
    assert joined[1, 1, 1, 1] == pytest.approx((0.5 + 0.75) / 2, abs=0.005)
    assert joined[1, 1, 0, 1] > joined[1, 1, 1, 1], "the network says 3/4 there"
    assert joined[1, 3, 3, 3] == pytest.approx(0.25, abs=0.005), "beyond the last vote is background"
    assert read_json(tmp_path / "out" / "propagation" / "case_1.json") == {"points": [1, 2]}


def test_a_case_without_votes(tmp_path):
    with pytest.raises(BundleError):
        JoinProbabilitiesd("pred", tmp_path, tmp_path / "out")(item(torch.zeros(2, 4, 4, 4)))
