import json
import subprocess
from pathlib import Path

import pytest
import torch

from scripts.common.errors import BundleError
from scripts.networks import model_files
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet
from scripts.networks.prnet_weights import check_prnet, load_prnet, trained_spacing_mm
from tests.prnet_fixtures import PATCH_SIZE, SPACING_MM, write_prnets


@pytest.fixture
def folder(tmp_path):
    return write_prnets(tmp_path) / "coarse"


def change_card(folder, **changes):
    card = json.loads((folder / "model.json").read_text(encoding="utf-8")) | changes
    (folder / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def test_round_trip(tmp_path, folder):
    trained = load_prnet(folder, SPACING_MM, PATCH_SIZE)
    assert not trained.network.training
    assert (trained.spacing_mm, trained.max_offset_mm) == (SPACING_MM, (200.0, 200.0, 200.0))
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in trained.network.state_dict().items())
    assert load_prnet(folder).network.patch_size == PATCH_SIZE
    assert trained_spacing_mm(tmp_path) == list(SPACING_MM)


def test_half_precision_weights_load(folder):
    weights = {name: value.half() for name, value in torch.load(folder / "model.pt", weights_only=True).items()}
    torch.save(weights, folder / "model.pt")
    network = load_prnet(folder).network
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert all(torch.equal(value.half(), weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("said", "taken"), [(True, True), (None, False)])
def test_the_card_says_how_a_network_was_trained(folder, said, taken):
    change_card(folder, body_only=said, float32_head=said)
    trained = load_prnet(folder)
    assert (trained.body_only, trained.network.float32_head) == (taken, taken)


def test_a_wrapped_network_is_saved_without_its_wrapper(tmp_path):
    network = PRNet(PATCH_SIZE, width=2)
    write_model(tmp_path, torch.nn.DataParallel(network), {"kind": "prnet"})
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == set(network.state_dict())


def test_the_card_is_written_last(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.networks.model_files.write_weights", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_model(tmp_path, PRNet(PATCH_SIZE, width=2), {"kind": "prnet"})
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("demanded", "key", "expected", "trained"),
    [
        ({"spacing_mm": (3, 3, 3)}, "spacing_mm", [3, 3, 3], [4.0, 4.0, 5.0]),
        ({"patch_size": (48, 48, 48)}, "patch_size", [48, 48, 48], list(PATCH_SIZE)),
    ],
)
def test_weights_for_something_else(folder, demanded, key, expected, trained):
    with pytest.raises(BundleError, match=f"the PRNet weights were trained with another {key}") as caught:
        load_prnet(folder, **demanded)
    assert (caught.value.expected, caught.value.found) == (expected, trained)
    assert caught.value.file == str(folder / "model.json")


@pytest.mark.parametrize("name", ["model.pt", "model.json"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match="no PRNet weights here") as caught:
        load_prnet(folder)
    assert Path(caught.value.file).name == name


def test_damaged_weights(folder):
    (folder / "model.pt").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="the PRNet weights do not load"):
        load_prnet(folder)


@pytest.mark.parametrize("changes", [{"width": 4}, {"pooling": 2}, {"patch_size": [30, 30, 30]}])
def test_card_that_does_not_fit_the_weights(folder, changes):
    change_card(folder, **changes)
    with pytest.raises(BundleError, match="the PRNet weights do not load"):
        load_prnet(folder)


def test_card_without_a_spacing(folder):
    change_card(folder, spacing_mm=None)
    with pytest.raises(BundleError, match="the card of the PRNet weights is damaged") as caught:
        load_prnet(folder, SPACING_MM)
    assert caught.value.found == "no spacing_mm"


def test_the_card_alone_tells_another_spacing(folder):
    (folder / "model.pt").write_bytes(b"damaged")
    check_prnet(folder, SPACING_MM)
    with pytest.raises(BundleError, match="another spacing_mm"):
        check_prnet(folder, (4, 4, 4))


def test_no_network_to_take_the_spacing_from(tmp_path):
    with pytest.raises(BundleError, match="no PRNet weights here"):
        trained_spacing_mm(tmp_path)


def test_the_card_says_what_made_the_network(folder):
    made_with = json.loads((folder / "model.json").read_text(encoding="utf-8"))["made_with"]
    assert made_with["torch"] == torch.__version__
    assert made_with["device"] == "cpu" and set(made_with) == {"torch", "monai", "device", "commit"}


def test_the_commit_is_none_of_another_checkout(tmp_path, monkeypatch):
    """An environment within somebody's repository, which ignores it."""

    def git(*command):
        name = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        done = subprocess.run(["git", *name, *command], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    (tmp_path / "model_files.py").touch()
    monkeypatch.setattr(model_files, "__file__", str(tmp_path / "model_files.py"))

    def commit():
        model_files.write_model(tmp_path / "model", torch.nn.Linear(1, 1), {})
        return json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))["made_with"]["commit"]

    assert commit() is None
    git("add", "model_files.py")
    git("commit", "-m", "ours")
    assert commit() == git("rev-parse", "HEAD")
