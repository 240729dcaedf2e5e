import pytest
import torch

from scripts.common.errors import BundleError
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import WindowSettings
from scripts.networks.embedding_weights import embedding_mark, load_embedding
from scripts.registration.body import embed_body
from scripts.registration.body_embedder import BodyEmbedder
from tests.embedding_fixtures import write_embedding
from tests.prnet_fixtures import SPACING_MM


def test_a_network_of_another_spacing_is_refused_before_it_is_loaded(tmp_path):
    write_embedding(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"no weights")
    BodyEmbedder(tmp_path, SPACING_MM, WindowSettings())
    with pytest.raises(BundleError, match="spacing"):
        BodyEmbedder(tmp_path, (9.0, 9.0, 9.0), WindowSettings())


@pytest.fixture
def volume():
    image = torch.rand(1, 20, 18, 16, generator=torch.Generator().manual_seed(0))
    body = torch.ones(image.shape[1:])
    body[:6] = 0
    return CachedVolume(image, body, torch.eye(4).numpy())


def test_bodies_are_those_of_the_network(tmp_path, volume):
    write_embedding(tmp_path)
    embed = BodyEmbedder(tmp_path, SPACING_MM, WindowSettings(bfloat16=False))
    trained = load_embedding(tmp_path, SPACING_MM)
    expected = embed_body(trained, volume, WindowSettings(bfloat16=False))
    assert torch.equal(embed(volume).vectors, expected.vectors) and torch.equal(embed(volume).cells, expected.cells)
    assert embed.trained is embed.trained
    assert embed.inputs("volume")[0] == embed.mark == embedding_mark(tmp_path)


def test_a_shared_body_is_embedded_once_and_equal_to_the_bit(tmp_path, volume):
    write_embedding(tmp_path / "network")
    first, second = (BodyEmbedder(tmp_path / "network", SPACING_MM, WindowSettings()) for _ in range(2))
    expected, file = first(volume), tmp_path / "body.pt"
    for body in (first.shared(volume, "sha", file), second.shared(volume, "sha", file)):
        assert torch.equal(body.vectors, expected.vectors) and torch.equal(body.cells, expected.cells)
        assert torch.equal(body.places_mm, expected.places_mm)
        assert body.embedding.spacing_mm == expected.embedding.spacing_mm
    assert "trained" not in vars(second), "the second one needs no network"
