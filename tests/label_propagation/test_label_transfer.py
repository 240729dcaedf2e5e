import numpy as np
import pytest
import torch

from scripts.common.errors import BundleError
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.label_transfer import TransferSettings, transfer_labels
from tests.embedding_fixtures import CELLS, CENTRES_MM, SHAPE, SHIFT_MM, balls, dice, oracle, shift_map


def one_hot(label):
    """(2, X, Y, Z) of the values 3 and 5."""
    return np.stack([label == 3, label == 5])


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_an_oracle_transfers_labels_even_where_the_affine_map_errs(error_mm):
    support = oracle(lambda places: places).embedding
    query = oracle(lambda places: places + SHIFT_MM).embedding
    fractions = support.grid().fractions(one_hot(balls(CENTRES_MM)))
    settings = TransferSettings(transfer_temperature=0.02)
    to_support = shift_map(SHIFT_MM, error_mm)
    transferred = transfer_labels(support, fractions, query, torch.ones(SHAPE), to_support, settings)
    torch.testing.assert_close(transferred.sum(dim=0), torch.ones(CELLS))
    truth = query.grid().fractions(one_hot(balls(CENTRES_MM - SHIFT_MM)))
    assert all(dice(transferred[channel] > 0.5, truth[channel] > 0.5) > 0.9 for channel in (1, 2))


def flat_embedding(spacing_mm=(4.0, 4.0, 4.0)):
    """All vectors alike: the prior decides alone."""
    return DenseEmbedding({"fine": torch.ones(1, *CELLS), "coarse": torch.ones(1, 6, 5, 4)}, spacing_mm)


def test_background_far_away_and_outside_the_body():
    embedding, label, body = flat_embedding(), np.zeros(SHAPE, dtype=np.uint8), torch.zeros(SHAPE)
    label[4:8, 4:8, 4:8] = 3
    body[:, :, :12] = 1
    fractions = embedding.grid().fractions(one_hot(label)[:1])
    settings = TransferSettings(search_mm=16.0)
    transferred = transfer_labels(embedding, fractions, embedding, body, shift_map(np.zeros(3)), settings)
    assert (transferred[1, :, :, 6:] == 0).all() and (transferred[0, :, :, 6:] == 1).all(), "outside the body"
    assert (transferred[1, 12:] == 0).all(), "nothing but background within reach"
    assert transferred[1, 2, 2, 2] > transferred[1, 5, 5, 2] > 0


def test_the_prior_by_hand():
    """One row of cells of 3 mm along x; within reach of cell 0 are cells 0 to 2, which lie 0, 3 and 6 mm away."""
    embedding = DenseEmbedding({"fine": torch.ones(1, 4, 1, 1), "coarse": torch.ones(1, 1, 1, 1)}, (1.5, 2.0, 5.0))
    fractions = torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 0]])[:, :, None, None]
    body = torch.zeros(8, 2, 2)
    body[:2] = 1
    settings = TransferSettings(search_mm=5.0, transfer_prior_mm=3.0)
    transferred = transfer_labels(embedding, fractions, embedding, body, shift_map(np.zeros(3)), settings)
    weights = np.exp(-(np.array([0, 3, 6]) ** 2) / (2 * 3.0**2))
    assert float(transferred[1, 0, 0, 0]) == pytest.approx(weights[0] / weights.sum())


def test_an_empty_body_is_background():
    embedding = flat_embedding()
    fractions = embedding.grid().fractions(one_hot(balls(CENTRES_MM)))
    nothing = torch.zeros(SHAPE)
    transferred = transfer_labels(embedding, fractions, embedding, nothing, shift_map(np.zeros(3)), TransferSettings())
    assert (transferred[0] == 1).all() and not transferred[1:].any()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(BundleError, match="warped_share is a share"):
        TransferSettings(warped_share=share)
