"""The network's probabilities and the atlases' of a case, on grids that differ."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.common.made_of import recorded_hash, write_record
from scripts.common.work_folder import PropagationFolder
from scripts.data.probability_maps import read_probabilities, write_probabilities
from scripts.data.records import PointSet, PropagationRecord
from scripts.segmentation.ensemble import JoinProbabilitiesd

AFFINE = np.diag([3.0, 4.0, 5.0, 1.0])


def item(logits):
    image = MetaTensor(torch.zeros(1, *logits.shape[1:]), affine=torch.as_tensor(AFFINE))
    return {"case": "case_1", "image": image, "pred": logits}


@pytest.fixture
def atlases(tmp_path):
    """Two classes on a grid of twice the steps: class 1 in its first half along x. (folder, record)."""
    probabilities = np.zeros((2, 2, 2, 2))
    probabilities[0, 1], probabilities[1, 0] = 1.0, 1.0
    coarse = AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = AFFINE[:3, :3] @ [0.5, 0.5, 0.5]
    folder = PropagationFolder(tmp_path / "propagation")
    write_probabilities(folder.probabilities("case_1"), probabilities, coarse)
    record = PropagationRecord(
        "case_1", "case_0", {"name": "label_fusion"}, (6.0, 8.0, 10.0), {"spleen": 1}, PointSet.empty(), 0.9
    )
    write_record(folder.record("case_1"), record.to_json(), "inputs", [folder.probabilities("case_1")])
    return folder, record


def network_logits():
    """Three quarters class 1 in the first plane along y, one half elsewhere."""
    logits = torch.zeros(2, 4, 4, 4)
    logits[1, :, 0] = float(np.log(3.0))
    return logits


def test_mean_of_network_and_atlases_on_the_network_s_grid(tmp_path, atlases):
    data = item(network_logits())
    assert JoinProbabilitiesd("pred", atlases[0].path, tmp_path / "out")(data).keys() == data.keys()
    assert torch.equal(data["pred"], network_logits())
    out = PropagationFolder(tmp_path / "out" / "propagation")
    joined, affine = read_probabilities(out.probabilities("case_1"))
    assert joined.shape == (2, 4, 4, 4) and np.allclose(affine, AFFINE)
    assert np.allclose(joined.sum(axis=0), 1, atol=0.01)
    # The atlases' voxel centres lie at voxels 0.5 and 2.5; a quarter of the way between them they say 3/4.
    assert joined[1, 1, 1, 1] == pytest.approx((0.5 + 0.75) / 2, abs=0.005)
    assert joined[1, 1, 0, 1] > joined[1, 1, 1, 1], "the network says 3/4 there"
    assert joined[1, 3, 3, 3] == pytest.approx(0.25, abs=0.005), "beyond the atlases' last voxel is background"


def test_the_share_of_the_network(tmp_path, atlases):
    JoinProbabilitiesd("pred", atlases[0].path, tmp_path / "out", network_share=0.2)(item(network_logits()))
    joined, _ = read_probabilities(PropagationFolder(tmp_path / "out" / "propagation").probabilities("case_1"))
    assert joined[1, 1, 1, 1] == pytest.approx(0.2 * 0.5 + 0.8 * 0.75, abs=0.005)


def test_the_record_is_the_atlases_with_its_own_files_and_inputs(tmp_path, atlases):
    folder, record = atlases
    out = PropagationFolder(tmp_path / "out" / "propagation")
    join = JoinProbabilitiesd("pred", folder.path, tmp_path / "out")
    join(item(network_logits()))
    assert PropagationRecord.read(out.record("case_1")).to_json() == record.to_json()
    assert recorded_hash(out.record("case_1"), out.probabilities("case_1")) == sha256_of_file(
        out.probabilities("case_1")
    )
    first = read_json(out.record("case_1"))["inputs"]
    join(item(2 * network_logits()))
    assert read_json(out.record("case_1"))["inputs"] != first, "another network"


def test_a_case_without_class_probabilities(tmp_path):
    with pytest.raises(BundleError):
        JoinProbabilitiesd("pred", tmp_path, tmp_path / "out")(item(torch.zeros(2, 4, 4, 4)))
