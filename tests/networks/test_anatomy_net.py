import pytest
import torch

from scripts.networks.anatomy_net import STRIDES, AnatomyNet


def tiny():
    torch.manual_seed(0)
    return AnatomyNet(widths=(4, 4, 8, 8, 8), fine_channels=5, coarse_channels=3)


def test_unit_vectors_on_both_grids():
    output = tiny()(torch.rand(2, 1, 32, 16, 48))
    assert {name: tuple(cells.shape) for name, cells in output.items()} == {
        "fine": (2, 5, 16, 8, 24),
        "coarse": (2, 3, 4, 2, 6),
    }
    for level, cells in output.items():
        assert cells.shape[2] * STRIDES[level] == 32
        torch.testing.assert_close(cells.norm(dim=1), torch.ones_like(cells[:, 0]))


def test_every_parameter_learns():
    network = tiny()
    output = network(torch.rand(1, 1, 32, 32, 32))
    sum((cells * torch.rand_like(cells)).sum() for cells in output.values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_bad_sizes():
    with pytest.raises(ValueError, match=r"multiples of 16, got \[32, 20, 32\]"):
        tiny()(torch.rand(1, 1, 32, 20, 32))
    with pytest.raises(ValueError, match="five widths"):
        AnatomyNet(widths=(4, 8))
