import json

import pytest
import torch

from bundle.pipeline.configs import read_configs
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_weights
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.embedding_weights import USUAL_WINDOW, check_embedding, embedding_mark, load_embedding
from scripts.networks.loading import check_modality
from scripts.networks.model_files import write_model
from tests.paths import ROOT

WIDTHS = [2, 4, 4, 4, 4]
SPACING_MM = (4.0, 4.0, 5.0)


@pytest.fixture
def folder(tmp_path):
    """A trained network: window of 32 x 32 x 16 voxels, 6 channels."""
    torch.manual_seed(0)
    card = {"widths": WIDTHS, "channels": 6, "window_size": [32, 32, 16], "spacing_mm": list(SPACING_MM)}
    write_model(tmp_path, AnatomyNet(WIDTHS, 6, 6), card)
    return tmp_path


def change_card(folder, **changes):
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(card | changes), encoding="utf-8")


def test_a_network_comes_back_with_its_window_and_spacing(folder):
    trained = load_embedding(folder, [4, 4, 5])
    assert not trained.network.training
    assert trained.window_size == (32, 32, 16) and trained.spacing_mm == SPACING_MM
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in trained.network.state_dict().items())
    assert load_embedding(folder).spacing_mm == SPACING_MM


def test_a_card_that_says_nothing_is_of_ct(folder):
    check_modality(folder, "embedding weights", "ct")
    with pytest.raises(BundleError, match="were trained on CT, and the volumes are MR") as caught:
        check_modality(folder, "embedding weights", "mr")
    assert "--modality ct" in caught.value.expected
    change_card(folder, modality="mr")
    check_modality(folder, "embedding weights", "mr")
    change_card(folder, modality="pet")
    with pytest.raises(BundleError, match="the card of the embedding weights is damaged"):
        check_embedding(folder)


@pytest.mark.parametrize("name", ["model.pt", "model.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match="no embedding weights here") as caught:
        check_embedding(folder)
    assert caught.value.file == str(folder / name) and caught.value.stage == "weights"


def test_a_network_of_another_kind_is_refused_as_such(folder):
    change_card(folder, kind="embedding")
    check_embedding(folder)
    change_card(folder, kind="prnet")
    with pytest.raises(BundleError, match="these are no embedding weights"):
        check_embedding(folder)


def test_another_spacing_is_refused_by_the_card_alone(folder):
    (folder / "model.pt").write_bytes(b"damaged")
    check_embedding(folder, SPACING_MM)
    with pytest.raises(BundleError, match="the embedding weights were trained with another spacing_mm") as caught:
        check_embedding(folder, (4.0, 4.0, 4.0))
    assert (caught.value.expected, caught.value.found) == ([4.0, 4.0, 4.0], [4.0, 4.0, 5.0])


def test_damaged_weights_do_not_load(folder):
    (folder / "model.pt").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="the embedding weights do not load"):
        load_embedding(folder)


@pytest.mark.parametrize("changes", [{"channels": 5}, {"widths": [2, 4, 4, 4, 8]}])
def test_a_card_that_does_not_fit_the_weights(folder, changes):
    change_card(folder, **changes)
    with pytest.raises(BundleError, match="the embedding weights do not load"):
        load_embedding(folder)


def test_the_mark_tells_weights_and_windows_apart(folder):
    before = embedding_mark(folder)
    change_card(folder, seed=7)
    assert embedding_mark(folder) == before, "it does not decide what the network says"
    change_card(folder, window_size=[32, 32, 32])
    assert embedding_mark(folder) != before
    change_card(folder, window_size=[32, 32, 16])
    assert embedding_mark(folder) == before
    write_weights(folder / "model.pt", AnatomyNet(WIDTHS, 6, 6))
    assert embedding_mark(folder) != before


def test_the_mark_of_the_usual_window_is_that_of_earlier_versions(folder):
    change_card(folder, window_size=USUAL_WINDOW)
    assert embedding_mark(folder) == sha256_of_file(folder / "model.pt")
    assert read_configs(["train_embedding.json"])["window_size"] == USUAL_WINDOW
    shipped = [read_json(file) for file in sorted((ROOT / "models").rglob("embedding/model.json"))]
    assert shipped and all(card["window_size"] == USUAL_WINDOW for card in shipped)
