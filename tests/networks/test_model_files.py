import logging

import pytest
import torch

from scripts.common.files import read_json
from scripts.networks.model_files import write_trained


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def test_a_card_stays_beside_the_weights_that_it_describes(tmp_path, network, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("scripts.networks.model_files"), "disabled", False)
    write_trained(tmp_path, network, {"batch_size": 2, "sizes": (1, 2)})
    before = (tmp_path / "model.json").read_bytes()
    write_trained(tmp_path, network, {"batch_size": 2, "sizes": (1, 2)})
    assert not caplog.messages
    write_trained(tmp_path, torch.nn.DataParallel(network), {"batch_size": 4, "sizes": (1, 2)})
    assert (tmp_path / "model.json").read_bytes() == before
    assert caplog.messages == [
        f"nothing was trained: {tmp_path / 'model.json'} stays as it is, although batch_size changed since"
    ]


def test_other_weights_get_a_card_of_their_own(tmp_path, network):
    write_trained(tmp_path, network, {"batch_size": 2})
    with torch.no_grad():
        network.bias += 1
    write_trained(tmp_path, network, {"batch_size": 4})
    assert read_json(tmp_path / "model.json")["batch_size"] == 4
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["bias"], network.bias)


@pytest.mark.parametrize("name", ["model.pt", "model.json"])
def test_a_damaged_file_is_written_again(tmp_path, network, name):
    write_trained(tmp_path, network, {"batch_size": 2})
    (tmp_path / name).write_text("damaged", encoding="utf-8")
    write_trained(tmp_path, network, {"batch_size": 4})
    assert read_json(tmp_path / "model.json")["batch_size"] == 4
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"weight", "bias"}
