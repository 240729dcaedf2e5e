import numpy as np
import pytest
import torch

from scripts.embedding.cells import cell_fractions
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.label_transfer import TransferSettings, mapped_cells, transfer_labels
from scripts.registration.robust_affine import AffineMap
from tests.registration.test_embedding_matching import SHAPE, SPACING_MM, oracle

SHIFT_MM = np.array([8.0, 0.0, -16.0])


def shift_map(shift_mm, error_mm=(0.0, 0.0, 0.0)):
    places = np.zeros((1, 3))
    return AffineMap(np.eye(3), np.asarray(shift_mm) + error_mm, places, places, np.zeros(1), None)


def balls(centres_mm, radius_mm=30.0):
    """(X, Y, Z) label map with one ball per centre, values 3, 5, ..."""
    voxels = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1) * SPACING_MM
    label = np.zeros(SHAPE, dtype=np.uint8)
    for value, centre in zip((3, 5), centres_mm, strict=True):
        label[np.linalg.norm(voxels - centre, axis=-1) <= radius_mm] = value
    return label


def one_hot(label):
    """(2, X, Y, Z) of the values 3 and 5."""
    return np.stack([label == 3, label == 5])


CENTRES_MM = np.array([[60.0, 80.0, 70.0], [130.0, 80.0, 60.0]])


def test_shares_of_a_cell_by_hand():
    label = np.zeros((4, 2, 2), dtype=np.uint8)
    label[0] = 3
    label[2:, 0, 0] = 5
    shares = cell_fractions(one_hot(label), (3, 1, 1))
    assert shares[:, :, 0, 0].T.tolist() == [[0.5, 0.5, 0.0], [0.75, 0.0, 0.25], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize("cells", [(6, 5, 1), (7, 4, 2)])
def test_the_map_is_followed_at_every_other_cell(cells):
    spacing_mm = np.array([4.0, 2.0, 5.0])
    places = np.array([[20.0, 10.0, 5.0], [30.0, 4.0, 15.0]])
    bend = AffineMap(np.diag([1.1, 0.9, 1.0]), np.array([3.0, 0, 0]), places, places * 0 + 8.0, np.ones(2), 30.0)
    whole = tuple(slice(0, size) for size in cells)
    found = mapped_cells(whole, bend, spacing_mm)
    centres = np.stack(np.meshgrid(*(np.arange(n) * 2 + 0.5 for n in cells), indexing="ij"), axis=-1)
    exact = bend((centres * spacing_mm).reshape(-1, 3)).reshape(*cells, 3)
    assert np.abs(found.numpy() - exact).max() < 0.25
    straight = AffineMap(bend.matrix, bend.shift_mm, places, places, np.ones(2), None)
    exact = straight((centres * spacing_mm).reshape(-1, 3)).reshape(*cells, 3)
    assert np.abs(mapped_cells(whole, straight, spacing_mm).numpy() - exact).max() < 1e-3
    part = tuple(slice(size // 3, size - 1) for size in cells)
    torch.testing.assert_close(mapped_cells(part, bend, spacing_mm), found[part])


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_an_oracle_transfers_the_region_even_where_the_map_errs(error_mm):
    support = oracle(lambda places: places).embedding
    query = oracle(lambda places: places + SHIFT_MM).embedding
    cells = tuple(support.levels["fine"].shape[1:])
    fractions = cell_fractions(one_hot(balls(CENTRES_MM)), cells)
    settings = TransferSettings(temperature=0.02)
    body = torch.ones(SHAPE)
    found = transfer_labels(support, fractions, query, body, shift_map(SHIFT_MM, error_mm), SPACING_MM, settings)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(cells))
    truth = cell_fractions(one_hot(balls(CENTRES_MM - SHIFT_MM)), cells)
    for channel in (1, 2):
        ours, theirs = found[channel] > 0.5, truth[channel] > 0.5
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9


def test_background_far_away_and_outside_the_body():
    embedding = DenseEmbedding({"fine": torch.ones(1, 24, 20, 16), "coarse": torch.ones(1, 6, 5, 4)}, SHAPE)
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[4:8, 4:8, 4:8] = 3
    fractions = cell_fractions(one_hot(label)[:1], (24, 20, 16))
    body = torch.zeros(SHAPE)
    body[:, :, :12] = 1
    settings = TransferSettings(reach_mm=16.0)
    found = transfer_labels(embedding, fractions, embedding, body, shift_map(np.zeros(3)), SPACING_MM, settings)
    assert (found[1, :, :, 6:] == 0).all() and (found[0, :, :, 6:] == 1).all(), "outside the body"
    assert (found[1, 12:] == 0).all(), "nothing but background within reach"
    assert found[1, 2, 2, 2] > found[1, 5, 5, 2] > 0, "vectors all alike: the prior decides"
    assert settings.block == 4
