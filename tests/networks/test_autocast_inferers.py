import pytest
import torch
from torch import nn

from scripts.networks import precision
from scripts.networks.autocast_inferers import AutocastInferer, AutocastSlidingWindowInferer, PositionInferer
from scripts.networks.prnet import PRNet


@pytest.fixture(autouse=True)
def processor_with_bfloat16(monkeypatch):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device_type: True)


class Recorder(nn.Module):
    """A linear map per voxel that remembers in which precision it ran."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv3d(1, 2, kernel_size=1)
        self.dtypes = set()

    def forward(self, x):
        y = self.layer(x)
        self.dtypes.add(y.dtype)
        return y


def test_plain_inferer():
    inputs, network = torch.rand(1, 1, 4, 4, 4), Recorder()
    rough = AutocastInferer()(inputs, network)
    exact = AutocastInferer(enabled=False)(inputs, network)
    assert rough.dtype == torch.bfloat16 and exact.dtype == torch.float32
    assert torch.equal(exact, network(inputs))
    torch.testing.assert_close(rough.float(), exact, atol=0.01, rtol=0.01)
    assert network.layer(inputs).dtype == torch.float32, "autocast ends with the call"


def test_positions_a_few_patches_at_a_time():
    network, inputs = PRNet((32, 16, 16), width=2).eval(), torch.rand(5, 1, 32, 16, 16)
    sizes = []
    network.bottleneck.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    output = PositionInferer(enabled=False, patches=2)(inputs, network)
    assert sizes == [2, 2, 1] and list(output) == ["position"]
    torch.testing.assert_close(output["position"], network(inputs)["position"])


def test_sliding_window_sums_in_float32():
    inputs, network = torch.rand(1, 1, 10, 9, 8), Recorder()
    settings = {"roi_size": (4, 4, 4), "sw_batch_size": 3, "overlap": 0.5, "mode": "gaussian"}
    rough = AutocastSlidingWindowInferer(**settings)(inputs, network)
    assert rough.dtype == torch.float32 and network.dtypes == {torch.bfloat16}
    network.dtypes.clear()
    exact = AutocastSlidingWindowInferer(**settings, enabled=False)(inputs, network)
    assert network.dtypes == {torch.float32}
    torch.testing.assert_close(exact, network(inputs), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rough, exact, atol=0.01, rtol=0.01)
