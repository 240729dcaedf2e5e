"""The network's probabilities and the atlases' of a case, on grids that differ, weighed by worth."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.data.utils import zoom_affine

from scripts.common.affines import to_world
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json, write_nifti
from scripts.common.made_of import recorded_hash, write_record
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.probability_maps import (
    ClassProbabilities,
    probabilities_on_grid,
    read_probabilities,
    write_probabilities,
)
from scripts.data.records import PointSet, PropagationRecord
from scripts.quality.records import CheckRecord, ClassCheck
from scripts.segmentation.ensemble.joining import join_probabilities, joined_on_grid
from scripts.segmentation.ensemble.network_worth import WorthSettings
from scripts.segmentation.ensemble.stage import EnsembleStage
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
    settings = WorthSettings(match_volumes=False)
    return EnsembleStage(cohort, network.path, atlases.path, labels.path, tmp_path / "checks", settings)


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


def test_a_network_that_claims_more_than_the_atlases_is_brought_to_their_volume(tmp_path, stage):
    matched = EnsembleStage(stage.cohort, *folders_of(tmp_path), WorthSettings(network_share=1.0))
    matched.run()
    theirs, their_affine = read_probabilities(stage.atlases.probabilities("case_1"))
    volume = probabilities_on_grid(theirs, their_affine, AFFINE, (4, 4, 4))[1].sum()
    assert volume < 22 < 36 <= torch.softmax(logits(), dim=0)[1].sum(), "one half in most of 64 voxels"
    assert joined(tmp_path, "case_1")[0][1].sum() == pytest.approx(volume, rel=0.02)


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


def sheared_by_15_degrees():
    """Steps of 3, 4 and 5 mm; along z the slices shift by 5 mm * tan(15 degrees) along y."""
    affine = AFFINE.copy()
    affine[1, 2] = 5 * np.tan(np.radians(15))
    return affine


def true_probabilities(affine, shape):
    """One half at y = 0, 1/100 more for each mm along y, so that what lies between voxels is known, too."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    organ = (0.5 + to_world(voxels, affine)[:, 1] / 100).reshape(shape)
    return ClassProbabilities(np.stack([1 - organ, organ]), affine)


def sheared_case(tmp_path, stage):
    """A perfect network and perfect atlases of case_1; the affine of the image. The network's grid holds the atlases'.

    MONAI's has steps of 2 mm along x, y and z themselves. After 6 slices of 5 mm the grids are 8 mm apart: 8 percent.
    """
    sheared = sheared_by_15_degrees()
    network_affine = zoom_affine(sheared, (2.0, 2.0, 2.0), diagonal=False)
    assert network_affine == pytest.approx(np.diag([2.0, 2.0, 2.0, 1.0]))
    network, own = true_probabilities(network_affine, (9, 17, 16)), LabelFolder(tmp_path / "network").own
    write_probabilities(own.probabilities("case_1"), network.array, network_affine)
    atlases = true_probabilities(sheared, (5, 6, 7))
    write_probabilities(stage.atlases.probabilities("case_1"), atlases.array, sheared)
    return sheared


def test_on_a_sheared_image_perfect_network_and_atlases_stay_in_their_place(tmp_path, stage):
    sheared = sheared_case(tmp_path, stage)
    stage.run()
    probabilities, affine = joined(tmp_path, "case_1")
    assert affine == pytest.approx(sheared)
    assert probabilities == pytest.approx(true_probabilities(sheared, (5, 6, 7)).array, abs=0.006)
    assert read_json(stage.record("case_1"))["network_shares"]["spleen"] > 0.3
    finer = sheared @ np.diag([0.5, 0.5, 0.25, 1.0])  # the image itself: what follows takes each axis by itself
    on_image = probabilities_on_grid(probabilities, affine, finer, (9, 11, 25))
    assert on_image == pytest.approx(true_probabilities(finer, (9, 11, 25)).array, abs=0.006)


def test_a_sheared_image_that_was_joined_on_the_network_s_grid_is_joined_again(tmp_path, stage):
    ordinary = stage.inputs("case_1")
    sheared_case(tmp_path, stage)
    assert stage.inputs("case_1").keys() - ordinary.keys() == {"joined_on"}


def test_an_oblique_image_that_is_not_sheared_is_joined_on_the_network_s_grid():
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    oblique = np.eye(4)
    oblique[:3, :3] = turned * [3.0, 4.0, 5.0]
    finer = (oblique @ np.diag([0.5, 0.5, 0.4, 1.0])).astype(np.float32).astype(float)  # as a header has it
    network, atlases = true_probabilities(finer, (8, 9, 10)), true_probabilities(oblique, (4, 5, 5))
    found = joined_on_grid(network, atlases, [0.25])
    propagated = probabilities_on_grid(atlases.array, oblique, finer, (8, 9, 10))
    assert np.array_equal(found.array, join_probabilities(network.array, propagated, [0.25]))
    assert np.array_equal(found.affine, finer)


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
    of_five = json.dumps(type(stage)(stage.cohort, *folders_of(tmp_path), stage.settings).inputs("case_1"))
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
