import numpy as np
import pytest
import torch

from scripts.embedding.cells import STRIDE
from scripts.registration.coupled_convex import CoupledConvexRound, _smoothed, coupled_convex_displacements
from tests.registration.test_embedding_matching import SHAPE, SPACING_MM, oracle

SHIFT_MM = np.array([8.0, 0.0, -16.0])
CELLS = tuple(size // STRIDE for size in SHAPE)


def centres_mm():
    axes = (np.arange(count) * STRIDE + (STRIDE - 1) / 2 for count in CELLS)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * SPACING_MM


def displacements(query, error_mm, cells=None, **changes):
    support = oracle(lambda places: places).embedding
    cells = torch.ones(CELLS, dtype=torch.bool) if cells is None else cells
    expected = torch.as_tensor(centres_mm() + SHIFT_MM + error_mm, dtype=torch.float32)
    settings = {"reach_mm": 32.0, "temperature": 0.02} | changes
    return coupled_convex_displacements(support, query, cells, expected, SPACING_MM, **settings).numpy()


INNER = np.s_[4:-4, 4:-4, 4:-4]


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_an_oracle_mends_the_error_of_the_affine_map(error_mm):
    query = oracle(lambda places: places + SHIFT_MM).embedding
    found = displacements(query, error_mm)[INNER]
    assert np.abs(found.mean(axis=(0, 1, 2)) + error_mm).max() < 1.5
    assert np.linalg.norm(found + error_mm, axis=-1).max() < 6.0, "mm, cells are 8 mm wide"


def test_a_body_that_bends_is_followed():
    def bent(places):
        return places + SHIFT_MM + 10.0 * np.sin(places[..., [1, 2, 0]] / 40.0)

    found = displacements(oracle(bent).embedding, (0.0, 0.0, 0.0))[INNER]
    truth = (bent(centres_mm()) - centres_mm() - SHIFT_MM)[INNER]
    assert np.linalg.norm(found - truth, axis=-1).mean() < 0.5 * np.linalg.norm(truth, axis=-1).mean()


def test_where_nothing_is_wanted_the_map_stays_affine():
    query = oracle(lambda places: places + SHIFT_MM).embedding
    cells = torch.zeros(CELLS, dtype=torch.bool)
    cells[:4] = True
    found = displacements(query, (8.0, 0.0, 0.0), cells, rounds=[CoupledConvexRound(24.0, 8.0)])
    assert np.abs(found[1]).max() > 1 and (found[-4:] == 0).all()


def test_one_cell_at_an_odd_place_is_enough():
    query = oracle(lambda places: places + SHIFT_MM).embedding
    cells = torch.zeros(CELLS, dtype=torch.bool)
    cells[5, 5, 5] = True
    found = displacements(query, (8.0, 0.0, 0.0), cells)
    assert np.abs(found[5, 5, 5] - [-8.0, 0.0, 0.0]).max() < 4.0


def test_neighbours_are_averaged_by_hand():
    field, known = np.zeros((9, 1, 1, 3), dtype=np.float32), np.zeros((9, 1, 1), dtype=np.float32)
    field[3], field[5], known[3], known[5] = 2.0, 6.0, 1.0, 1.0
    found = _smoothed(field, known, [1.0, 1.0, 1.0])[:, 0, 0, 0]
    assert found[4] == pytest.approx(4.0), "both are as near"
    assert found[0] < found[3] < 4.0 < found[5], "the nearer one counts more"


def test_places_outside_the_support_go_with_their_neighbours():
    """The query reaches 60 mm further down; what it shows there the support has not got."""
    shift_mm = np.array([0.0, 0.0, -60.0])
    support, query = (oracle(to).embedding for to in (lambda places: places, lambda places: places + shift_mm))
    expected = torch.as_tensor(centres_mm() + shift_mm, dtype=torch.float32)
    everything = torch.ones(CELLS, dtype=torch.bool)
    found = coupled_convex_displacements(support, query, everything, expected, SPACING_MM, 32.0, 0.02).numpy()
    assert np.abs(found[4:-4, 4:-4]).max() < 8.0, "mm; the affine map is right"
    nowhere = coupled_convex_displacements(support, query, everything, expected - 500, SPACING_MM, 32.0, 0.02)
    assert not nowhere.any()
