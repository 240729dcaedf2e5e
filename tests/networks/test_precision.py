"""bfloat16 where the processor has it, float32 where it would have to be imitated."""

import pytest
import torch

from scripts.networks.precision import autocast, computes_in_bfloat16


@pytest.fixture(autouse=True)
def asked_anew():
    computes_in_bfloat16.cache_clear()
    yield
    computes_in_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "wanted", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, True, torch.float32),
        ({"avx512_bf16": True, "amx_bf16": False}, True, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, True, torch.bfloat16),
        ({"neon": True, "bf16": True}, True, torch.bfloat16),
        ({"neon": True}, True, torch.float32),
        ({"amx_bf16": True}, False, torch.float32),
    ],
)
def test_networks_compute_in_what_the_processor_has(monkeypatch, capabilities, wanted, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    layer, values = torch.nn.Linear(2, 2), torch.rand(1, 2)
    with autocast(torch.device("cpu"), wanted):
        assert layer(values).dtype == expected
    assert layer(values).dtype == torch.float32


def test_an_older_torch_that_does_not_say_takes_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert computes_in_bfloat16("cpu")


@pytest.mark.parametrize("native", [False, True])
def test_a_gpu_is_asked_for_what_it_does_not_imitate(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert computes_in_bfloat16("cuda") == native
