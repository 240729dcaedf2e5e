"""Channels come last where that is faster, and nothing but the order of numbers in memory differs."""

import pytest
import torch

from scripts.common.files import load_tensors, write_weights
from scripts.networks import weight_layout
from scripts.networks.segmenter import segmentation_network
from scripts.networks.weight_layout import on_device

CPU = torch.device("cpu")


def small_network():
    torch.manual_seed(0)
    return segmentation_network("anatomy", 2, (2, 3, 4, 4, 4))


def channels_last(network):
    return network.full[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    ("bfloat16", "native", "expected"), [(True, False, True), (True, True, False), (False, True, True)]
)
def test_channels_come_last_where_a_cpu_computes_in_float32(monkeypatch, bfloat16, native, expected):
    monkeypatch.setattr(weight_layout, "computes_in_bfloat16", lambda _: native)
    assert channels_last(on_device(small_network(), CPU, bfloat16)) == expected


def test_a_device_may_be_given_by_its_name():
    assert channels_last(on_device(small_network(), "cpu", False))


def test_gradients_are_the_same_but_for_rounding():
    windows = torch.rand(1, 1, 32, 32, 32)
    plain, trained = small_network(), on_device(small_network(), CPU, False)
    for network in (plain, trained):
        network(windows).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=lambda words, name=name: f"{name}: {words}")


def test_a_file_does_not_tell_in_which_order_a_network_was_trained(tmp_path):
    for name, network in (("plain", small_network()), ("trained", on_device(small_network(), CPU, False))):
        write_weights(tmp_path / name, network)
        assert all(tensor.is_contiguous() for tensor in load_tensors(tmp_path / name).values())
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "trained").read_bytes()
