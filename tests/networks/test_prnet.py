import pytest
import torch
from torch import nn
from torch.nn import functional

from scripts.networks.prnet import LEVELS, PRNet
from scripts.point_propagation.relative_position import RelativePositionLoss

TINY = (32, 16, 16)


def gradients(network, patches, autocast):
    """Gradients of the training loss by parameter name."""
    loss = RelativePositionLoss((200.0, 200.0, 200.0))
    pairs = len(patches) // 2
    target = {"offset_mm": torch.linspace(-90, 90, 3 * pairs).reshape(pairs, 3), "patches": patches}
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = network(patches)
    loss(output, target).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_configuration_has_its_parameters():
    with torch.device("meta"):
        network = PRNet(patch_size=(128, 128, 48), width=16)
    assert count(network) == 10_400_516
    assert count(network.encoder) + count(network.bottleneck) == 1_770_656
    assert count(network.decoder) == 2_329_808
    assert [count(layer) for layer in network.position_head] == [6_291_584, 8_256, 195]
    assert count(network.reconstruction_head) == 17


def test_position_head_follows_the_patch():
    with torch.device("meta"):
        inputs = [PRNet(patch, width=4).position_head[0].in_features for patch in (TINY, (32, 32, 32), (48, 32, 16))]
    assert inputs == [2 * 64, 8 * 64, 6 * 64]
    assert not any(isinstance(layer, nn.ReLU) for layer in PRNet(TINY, width=2).position_head)


@pytest.mark.parametrize("patch", [(30, 32, 32), (32, 32), (0, 32, 32), (8, 8, 8)])
def test_bad_patch_size(patch):
    with pytest.raises(ValueError, match="patch_size must be three multiples of 16, got"):
        PRNet(patch)


def test_single_cell_is_refused_before_instance_norm_does():
    with pytest.raises(ValueError, match="patch_size must be larger than 16 along one axis"):
        PRNet((16, 16, 16))


@pytest.mark.parametrize(("patch", "pooling"), [((32, 32, 32), 1), ((64, 64, 64), 2)])
def test_every_parameter_learns(patch, pooling):
    torch.manual_seed(0)
    of_weights = gradients(PRNet(patch, width=2, pooling=pooling), torch.rand(4, 1, *patch), autocast=False)
    assert [name for name, gradient in of_weights.items() if gradient is None] == []
    # The biases before an instance norm are redundant: their gradient is zero.
    expected = [name for name in of_weights if name.endswith("weight") or "head" in name]
    assert [name for name in expected if not of_weights[name].abs().max() > 0] == []


def test_pooling_widens_the_patch_of_the_same_network():
    patches = torch.rand(2, 1, 64, 32, 32)
    network, pooled = PRNet(TINY, width=2), PRNet((64, 32, 32), width=2, pooling=2)
    pooled.load_state_dict(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(pooled.position(patches), network.position(functional.avg_pool3d(patches, 2)))
        assert pooled(patches)["reconstruction"].shape == patches.shape
        assert pooled.dense_features(patches).shape == (2, 2, 64, 32, 32)
    with pytest.raises(ValueError, match="patch_size must be three multiples of 32, got"):
        PRNet((48, 64, 64), pooling=2)
    with pytest.raises(ValueError, match="patch_size must be larger than 32 along one axis"):
        PRNet((32, 32, 32), pooling=2)


def test_shapes_and_ranges():
    network = PRNet(TINY, width=2)
    patches = torch.rand(3, 1, *TINY)
    with torch.inference_mode():
        output = network(patches)
        position, features = network.describe(patches)
        dense = network.dense_features(patches)
    assert output["position"].shape == (3, 3)
    assert output["reconstruction"].shape == patches.shape
    assert output["reconstruction"].min() >= 0 and output["reconstruction"].max() <= 1
    assert {level: tuple(values.shape) for level, values in features.items()} == {
        "m1": (3, 16),
        "m2": (3, 8),
        "m3": (3, 2),
        "m4": (3, 2),
    }
    assert tuple(features) == LEVELS
    assert all((values >= 0).all() for values in features.values()), "features follow a ReLU, so cosines lie in [0, 1]"
    assert torch.equal(features["m4"], dense[:, :, 16, 8, 8]), "the centre is index size // 2"
    torch.testing.assert_close(position, output["position"])
    torch.testing.assert_close(network.position(patches), output["position"])


def test_position_and_description_are_the_same_in_train_and_eval_mode():
    network = PRNet(TINY, width=2)
    patches = torch.rand(2, 1, *TINY)
    with torch.inference_mode():
        torch.testing.assert_close(network.train().position(patches), network.eval().position(patches))


def test_bottleneck_gradients_survive_bfloat16_on_the_cpu():
    """torch 2.13's bfloat16 weight gradients of convolutions on 2x2x2 maps are garbage on CPUs."""
    torch.manual_seed(0)
    network = PRNet((32, 32, 32), width=8)
    patches = torch.rand(4, 1, 32, 32, 32)
    exact, rough = (gradients(network, patches, autocast) for autocast in (False, True))
    for name, expected in exact.items():
        if name.startswith("bottleneck") and name.endswith("weight"):
            cosine = torch.cosine_similarity(rough[name].flatten(), expected.flatten(), dim=0)
            assert cosine > 0.9, name  # 0.65 and 0.77 without the remedy
            assert 0.9 < rough[name].norm() / expected.norm() < 1.1, name


def test_a_float32_head_takes_no_part_in_autocast():
    torch.manual_seed(0)
    network, patches = PRNet(TINY, width=2, float32_head=True), torch.rand(3, 1, *TINY)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        bottleneck, _ = network._encode(patches)
        position = network.position(patches)
        network.float32_head = False
        rounded = network.position(patches)
    with torch.inference_mode():
        expected = network.position_head(bottleneck.flatten(1))
    assert torch.equal(position, expected) and not torch.equal(rounded, expected)


def test_position_is_float32_under_autocast():
    network = PRNet(TINY, width=2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        output = network(torch.rand(1, 1, *TINY))
        _, features = network.describe(torch.rand(1, 1, *TINY))
    assert {tensor.dtype for tensor in (*output.values(), *features.values())} == {torch.float32}
