import pytest
import torch

from scripts.common.errors import BundleError
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.model_files import write_model
from scripts.networks.segmenter import AnatomySegmenter, segmentation_network, start_from_embedding

WIDTHS = [4, 4, 8, 8, 8]


def embedding(folder, widths):
    torch.manual_seed(0)
    card = {"widths": widths, "channels": 5, "window_size": [16] * 3, "spacing_mm": [4.0] * 3}
    network = AnatomyNet(widths, 5, 5)
    write_model(folder, network, card)
    return network


@pytest.mark.parametrize(("architecture", "channels"), [("unet", [4, 8]), ("anatomy", WIDTHS)])
def test_logits_of_every_voxel(architecture, channels):
    network = segmentation_network(architecture, 3, channels)
    logits = network(torch.rand(2, 1, 16, 32, 16))
    assert logits.shape == (2, 3, 16, 32, 16)
    logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("architecture", "channels"), [("unet", [4, 8]), ("anatomy", WIDTHS)])
def test_torchscript_gives_the_same_logits(architecture, channels):
    network = segmentation_network(architecture, 3, channels).eval()
    image = torch.rand(1, 1, 32, 16, 16)
    assert torch.equal(torch.jit.script(network)(image), network(image))


def test_unknown_architecture():
    with pytest.raises(BundleError, match=r"unet or anatomy\n.*resnet"):
        segmentation_network("resnet", 3, [4, 8])


def test_start_gives_the_trunk_and_nothing_else(tmp_path):
    trained = embedding(tmp_path, WIDTHS)
    torch.manual_seed(1)
    network = AnatomySegmenter(3, WIDTHS)
    head = network.head.weight.clone()
    start_from_embedding(network, tmp_path)
    windows = torch.rand(1, 1, 16, 16, 16)
    for stride, expected in trained.features(windows).items():
        torch.testing.assert_close(network.features(windows)[stride], expected)
    assert torch.equal(network.head.weight, head)
    start_from_embedding(torch.nn.Identity(), None)


def test_start_from_a_network_that_does_not_fit(tmp_path):
    embedding(tmp_path, WIDTHS)
    for network in (AnatomySegmenter(3, [4, 4, 4, 4, 4]), segmentation_network("unet", 3, [4, 8])):
        with pytest.raises(BundleError, match="cannot start from this embedding network"):
            start_from_embedding(network, tmp_path)
