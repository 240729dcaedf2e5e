"""The network's probabilities and the atlases' of a case, on grids that differ, weighed by worth."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json, write_nifti
from scripts.common.made_of import recorded_hash, write_record
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.probability_maps import read_probabilities, write_probabilities
from scripts.data.records import PointSet, PropagationRecord
from scripts.quality.records import CheckRecord, ClassCheck
from scripts.segmentation.ensemble import EnsembleStage, join_probabilities
from scripts.segmentation.network_probabilities import KeepProbabilitiesd

AFFINE = np.diag([3.0, 4.0, 5.0, 1.0])
CASES = tuple(f"case_{number}" for number in range(1, 7))
BAD = "case_6"


def logits():
    """Three quarters class 1 in the first plane along y, one half elsewhere."""
    values = torch.zeros(2, 4, 4, 4)
    values[1, :, 0] = float(np.log(3.0))
    return values


def keep(folder, case, values):
    image = MetaTensor(torch.zeros(1, *values.shape[1:]), affine=torch.as_tensor(AFFINE))
    item = {"case": case, "image": image, "pred": values}
    return item, KeepProbabilitiesd("pred", folder)(item)


def checked(agreed_dice):
    check = ClassCheck(agreed_dice, (0.0, 1.0), agreed_dice, 1.0, {}, 1.0, 0.0, False)
    return CheckRecord("case", 0.9, 1.0, False, (), {"spleen": check})


@pytest.fixture
def stage(tmp_path):
    """Atlases: class 1 in the first half along x, on a grid of twice the steps; labels the same on the finer grid.

    The network's label maps agree with them, but for one case.
    """
    coarse = AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = AFFINE[:3, :3] @ [0.5, 0.5, 0.5]
    atlases = PropagationFolder(tmp_path / "propagation")
    labels, network = LabelFolder(tmp_path / "labels"), LabelFolder(tmp_path / "network")
    for case in CASES:
        probabilities = np.zeros((2, 2, 2, 2))
        probabilities[0, 1], probabilities[1, 0] = 1.0, 1.0
        write_probabilities(atlases.probabilities(case), probabilities, coarse)
        record = PropagationRecord(case, "case_0", {}, (6.0, 8.0, 10.0), {"spleen": 1}, PointSet.empty(), 0.9)
        write_record(atlases.record(case), record.to_json(), "inputs", [atlases.probabilities(case)])
        label = np.zeros((4, 4, 4), np.uint8)
        label[:2] = 1
        for folder, array in ((labels, label), (network, label if case != BAD else label[::-1].copy())):
            write_nifti(folder.label(case), array, AFFINE)
            write_record(folder.record(case), {}, "inputs", [folder.label(case)])
        keep(network.path, case, logits())
        write_json(tmp_path / "checks" / f"{case}.json", checked(0.9).to_json())
    cohort = SimpleNamespace(cases=dict.fromkeys(("case_0", *CASES)), classes={"spleen": 1})
    return EnsembleStage(cohort, network.path, atlases.path, labels.path, tmp_path / "checks")


def folders_of(tmp_path):
    return [tmp_path / name for name in ("network", "propagation", "labels", "checks")]


def joined(tmp_path, case):
    return read_probabilities(PropagationFolder(tmp_path / "network" / "propagation").probabilities(case))


def test_a_good_network_has_its_weight_on_its_own_grid(tmp_path, stage):
    assert stage.run() == list(CASES)
    probabilities, affine = joined(tmp_path, "case_1")
    assert probabilities.shape == (2, 4, 4, 4) and np.allclose(affine, AFFINE)
    assert np.allclose(probabilities.sum(axis=0), 1, atol=0.01)
    # The atlases' voxel centres lie at voxels 0.5 and 2.5; a quarter of the way between them they say 3/4.
    assert probabilities[1, 1, 1, 1] == pytest.approx(0.33 * 0.5 + 0.67 * 0.75, abs=0.005)
    # At voxel 0 the network says 3/4; half a voxel beyond the atlases' first centre there is a quarter of background.
    assert probabilities[1, 1, 0, 1] == pytest.approx(0.33 * 0.75 + 0.67 * 0.75 * 0.75, abs=0.005)
    assert probabilities[1, 3, 3, 3] == pytest.approx(0.33 * 0.5, abs=0.005), (
        "beyond the atlases' last voxel is background"
    )
    assert read_json(stage.record("case_1"))["network_shares"] == {"spleen": 0.33}


def test_a_network_that_is_worth_nothing_in_a_case_leaves_the_atlases_as_they_are(tmp_path, stage):
    stage.run()
    probabilities, affine = joined(tmp_path, BAD)
    theirs, their_affine = read_probabilities(tmp_path / "propagation" / f"{BAD}_probabilities.nii.gz")
    assert np.array_equal(probabilities, theirs) and np.allclose(affine, their_affine)
    assert read_json(stage.record(BAD))["network_shares"] == {"spleen": 0.0}


def test_a_case_that_nobody_checked_keeps_the_atlases(tmp_path, stage):
    (tmp_path / "checks" / "case_1.json").unlink()
    stage.run()
    assert read_json(stage.record("case_1"))["network_shares"] == {"spleen": 0.0}


def test_each_class_has_its_own_weight():
    network, atlases = np.zeros((3, 1, 1, 2)), np.zeros((3, 1, 1, 2))
    network[1, 0, 0], network[0, 0, 0] = [1.0, 0.0], [0.0, 1.0]
    atlases[2, 0, 0] = 1.0
    voxels = join_probabilities(network, atlases, [0.5, 0.0])[:, 0, 0]
    assert voxels[:, 0] == pytest.approx([0.0, 1 / 3, 2 / 3]), "they claim 1.5"
    assert voxels[:, 1] == pytest.approx([0.0, 0.0, 1.0])
    same = join_probabilities(network, atlases, [0.25, 0.25])
    assert same == pytest.approx(0.25 * network + 0.75 * atlases), "one weight is the plain mean"


def test_the_record_is_the_atlases_with_its_own_files(tmp_path, stage):
    stage.run()
    file = PropagationFolder(tmp_path / "network" / "propagation").probabilities("case_1")
    theirs = PropagationRecord.read(tmp_path / "propagation" / "case_1.json")
    assert PropagationRecord.read(stage.record("case_1")).to_json() == theirs.to_json()
    assert recorded_hash(stage.record("case_1"), file) == sha256_of_file(file)


def test_another_network_is_joined_again_and_nothing_else(tmp_path, stage):
    stage.run()
    keep(tmp_path / "network", "case_2", 2 * logits())
    assert stage.run() == ["case_2"]


def test_what_a_case_depends_on_is_no_longer_in_a_larger_cohort(tmp_path, stage):
    of_six = json.dumps(stage.inputs("case_1"))
    (tmp_path / "checks" / "case_2.json").unlink()
    of_five = json.dumps(type(stage)(stage.cohort, *folders_of(tmp_path)).inputs("case_1"))
    assert len(of_five) == len(of_six) and of_five != of_six


def test_the_network_s_probabilities_are_kept_and_the_item_is_left(tmp_path):
    item, result = keep(tmp_path, "case_1", logits())
    assert result.keys() == item.keys() and torch.equal(result["pred"], logits())
    own = LabelFolder(tmp_path).own
    probabilities, affine = read_probabilities(own.probabilities("case_1"))
    assert probabilities[1, 0, :2, 0] == pytest.approx([0.75, 0.5], abs=0.003) and np.allclose(affine, AFFINE)
    first = read_json(own.record("case_1"))["inputs"]
    keep(tmp_path, "case_1", 2 * logits())
    assert read_json(own.record("case_1"))["inputs"] != first, "another network"


def test_a_case_without_class_probabilities(tmp_path, stage):
    (tmp_path / "propagation" / "case_1.json").unlink()
    with pytest.raises(BundleError, match="cannot read the JSON file"):
        stage.run(["case_1"])
