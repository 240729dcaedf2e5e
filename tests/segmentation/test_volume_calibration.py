"""A network's bias against the volumes of its training labels."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.common.work_folder import LabelFolder
from scripts.data.records import PseudoLabelRecord
from scripts.networks.segmenter import output_bias, segmentation_network
from scripts.segmentation.loss import ABSENT_LOGIT
from scripts.segmentation.volume_calibration import MOST_CASES, KnownVoxels, VolumeCalibration, volume_bias


def case(label, *logits, near=None):
    """As many voxels are wanted as the label has; the background has logit 0 everywhere. All voxels are near."""
    values = np.array([[0.0] * len(label), *logits])
    wanted = np.bincount(label, minlength=len(values))[1:]
    return KnownVoxels(values, np.ones((len(logits), len(label)), bool) if near is None else np.array(near), wanted)


def volumes(cases, bias):
    return np.bincount(
        np.concatenate([(one.logits + bias[:, None]).argmax(axis=0) for one in cases]), minlength=len(bias)
    ).tolist()


def test_a_class_is_likeliest_in_no_more_voxels_than_its_label_has():
    overdrawn = case([1, 1, 0, 0, 0, 0], [5.0, 4.0, 3.0, 2.0, 1.0, -1.0])
    bias = volume_bias([overdrawn], 1)
    assert bias == pytest.approx([0.0, -3.5]), "midway between the second voxel and the third"
    assert volumes([overdrawn], bias) == [4, 2]
    underdrawn = case([1, 1, 0], [1.0, -2.0, -5.0])
    assert volume_bias([underdrawn], 1).tolist() == [0.0, 0.0]


def test_classes_that_compete_reach_their_volumes_together():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [900, 80, 20])
    cases = [case(label, *rng.normal([[1.0], [1.5]], 1.0, (2, 1000))) for _ in range(2)]
    assert volumes(cases, volume_bias(cases, 2)) == pytest.approx([1800, 160, 40], abs=3)


def test_all_cases_count_together_but_for_those_in_which_a_class_is_not_located():
    label = [1, 0, 0, 0]
    nowhere, everywhere = [False] * 4, [True] * 4
    located = case(label, [4.0, 3.0, 2.0, 1.0], [ABSENT_LOGIT] * 4, near=[everywhere, nowhere])
    other = case([1, 1, 1, 2], [ABSENT_LOGIT] * 4, [9.0, 8.0, 7.0, 6.0], near=[nowhere, everywhere])
    bias = volume_bias([located, other], 2)
    assert volumes([located], bias) == [3, 1, 0] and volumes([other], bias) == [3, 0, 1]


def test_what_is_far_from_the_label_does_not_count():
    far = case([1, 0, 0, 0], [3.0, 2.0, 9.0, 8.0], near=[[True, True, False, False]])
    assert volume_bias([far], 1) == pytest.approx([0.0, -2.5]), "one of the two near ones"


def test_a_class_without_a_label_is_left_as_it_is():
    assert volume_bias([case([0, 0], [1.0, 2.0])], 1).tolist() == [0.0, 0.0]
    assert volume_bias([], 1).tolist() == [0.0, 0.0]
    assert volume_bias([case([1, 1], [3.0, 1.0])], 1)[1] == pytest.approx(-1.0), "all voxels, if only just"


class Cases:
    """Two cases of 20^3 voxels of 2 mm, bright where the organ is; undecided in the last plane."""

    def __init__(self, count=2):
        image, label = torch.full((1, 20, 20, 20), 0.5), torch.zeros(1, 20, 20, 20)
        image[:, 4:8, 4:8, 4:8], label[:, 4:8, 4:8, 4:8], label[..., 19] = 1.0, 1.0, 2.0
        affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
        self.item = {
            "case": "case_1",
            "image": MetaTensor(image, affine=affine),
            "label": MetaTensor(label, affine),
            "located": torch.ones(1),
        }
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def preprocessed(self, index):
        self.asked.append(index)
        return self.item


class Brightness(torch.nn.Module):
    """The organ's logit is ten times the brightness less one half, and 8 everywhere: all voxels are organ."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Conv3d(1, 2, 1)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([0.0, 10.0]).reshape(2, 1, 1, 1, 1))
            self.last.bias.copy_(torch.tensor([0.0, 3.0]))

    def forward(self, windows):
        return self.last(windows)


def test_a_network_claims_the_volume_of_its_labels_afterwards():
    network, dataset = Brightness(), Cases()
    added = VolumeCalibration(True, network, dataset, lambda image, predict: predict(image), ["spleen"], "cpu")(
        {"seed": 1}
    )
    assert added == {"seed": 1, "volume_bias": {"spleen": pytest.approx(-10.5, abs=0.01)}}, "13 inside, 8 outside"
    organ = network(dataset.item["image"].as_tensor()[None]).argmax(dim=1)
    assert torch.equal(organ[..., :19], dataset.item["label"].as_tensor().long()[..., :19])
    assert network.training, "as it was"


def test_volumes_of_other_label_maps_count_instead(tmp_path):
    """The organ has 64 voxels of 8 mm^3, of which the lattice of 4 mm keeps 8 of 64 mm^3."""
    volumes = LabelFolder(tmp_path)
    write_json(
        volumes.record("case_1"), PseudoLabelRecord("case_1", {"spleen": 1}, volume_ml={"spleen": 0.256}).to_json()
    )
    dataset, predict = Cases(), lambda image, network: network(image)
    calibration = VolumeCalibration(True, Brightness(), dataset, predict, ["spleen"], "cpu", tmp_path)
    with torch.no_grad():
        assert calibration._known(dataset.item).wanted.tolist() == [pytest.approx(4.0)]
    assert calibration._wanted("case_2", np.array([0, 1, 1]), 0.064).tolist() == [2.0], "nobody says anything of it"
    write_json(volumes.record("case_2"), PseudoLabelRecord("case_2", {"spleen": 1}, given=True).to_json())
    assert calibration._wanted("case_2", np.array([0, 1, 1]), 0.064).tolist() == [2.0], "no volume is said"


def test_a_network_is_left_as_it_is_where_that_is_asked_for():
    dataset = Cases()
    assert VolumeCalibration(False, Brightness(), dataset, lambda image, predict: predict(image), [], "cpu")(
        {"seed": 1}
    ) == {"seed": 1}
    assert dataset.asked == []


def test_of_many_cases_some_count():
    dataset = Cases(2 * MOST_CASES + 1)
    VolumeCalibration(True, Brightness(), dataset, lambda image, predict: predict(image), ["spleen"], "cpu")(
        {"seed": 1}
    )
    assert len(dataset.asked) <= MOST_CASES and dataset.asked[:3] == [0, 3, 6]


@pytest.mark.parametrize("architecture", ["anatomy", "unet"])
def test_the_output_bias_is_added_to_the_logits_of_every_network(architecture):
    network = segmentation_network(architecture, 3, [4, 8, 16, 32, 64][: 5 if architecture == "anatomy" else 4]).eval()
    window = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        before = network(window)
        output_bias(network).add_(torch.tensor([0.0, 1.0, -2.0]))
        assert torch.allclose(network(window) - before, torch.tensor([0.0, 1.0, -2.0]).reshape(3, 1, 1, 1), atol=1e-4)


def test_a_network_without_an_output_bias_is_refused():
    with pytest.raises(BundleError, match="the network's last layer has no bias"):
        output_bias(torch.nn.Conv3d(1, 2, 1, bias=False))
