import numpy as np
import pytest
import torch

from scripts.common.errors import BundleError
from scripts.registration.coupled_convex import CoupledConvexSettings, _smoothed, coupled_convex_displacements
from tests.embedding_fixtures import CELLS, SHIFT_MM, SPACING_MM, oracle


def centres_mm():
    axes = (np.arange(count) * 2 + 0.5 for count in CELLS)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * SPACING_MM


def displacements(query, error_mm, cells=None, **changes):
    support = oracle(lambda places: places).embedding
    cells = torch.ones(CELLS, dtype=torch.bool) if cells is None else cells
    expected = torch.as_tensor(centres_mm() + SHIFT_MM + error_mm, dtype=torch.float32)
    return coupled_convex_displacements(support, query, cells, expected, 32.0, 0.02, **changes).numpy()


INNER = np.s_[4:-4, 4:-4, 4:-4]


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_an_oracle_mends_the_error_of_the_affine_map(error_mm):
    query = oracle(lambda places: places + SHIFT_MM).embedding
    field = displacements(query, error_mm)[INNER]
    assert np.abs(field.mean(axis=(0, 1, 2)) + error_mm).max() < 1.5
    assert np.linalg.norm(field + error_mm, axis=-1).max() < 6.0, "mm, cells are 8 mm wide"


def test_a_deformed_body_is_followed():
    def deformed(places):
        return places + SHIFT_MM + 10.0 * np.sin(places[..., [1, 2, 0]] / 40.0)

    field = displacements(oracle(deformed).embedding, (0.0, 0.0, 0.0))[INNER]
    truth = (deformed(centres_mm()) - centres_mm() - SHIFT_MM)[INNER]
    assert np.linalg.norm(field - truth, axis=-1).mean() < 0.5 * np.linalg.norm(truth, axis=-1).mean()


def test_far_from_every_chosen_cell_the_map_stays_affine():
    query = oracle(lambda places: places + SHIFT_MM).embedding
    cells = torch.zeros(CELLS, dtype=torch.bool)
    cells[:4] = True
    field = displacements(query, (8.0, 0.0, 0.0), cells, settings=CoupledConvexSettings([24.0], [8.0]))
    assert np.abs(field[1]).max() > 1 and (field[-4:] == 0).all()


def test_one_cell_at_an_odd_place_is_enough():
    query = oracle(lambda places: places + SHIFT_MM).embedding
    cells = torch.zeros(CELLS, dtype=torch.bool)
    cells[5, 5, 5] = True
    field = displacements(query, (8.0, 0.0, 0.0), cells)
    assert np.abs(field[5, 5, 5] - [-8.0, 0.0, 0.0]).max() < 4.0


def test_neighbours_are_averaged_by_hand():
    field, counted = np.zeros((9, 1, 1, 3), dtype=np.float32), np.zeros((9, 1, 1), dtype=np.float32)
    field[3], field[5], counted[3], counted[5] = 2.0, 6.0, 1.0, 1.0
    smooth = _smoothed(field, counted, [1.0, 1.0, 1.0])[:, 0, 0, 0]
    assert smooth[4] == pytest.approx(4.0), "both are as near"
    assert smooth[0] < smooth[3] < 4.0 < smooth[5], "the nearer one counts more"


def test_places_outside_the_support_go_with_their_neighbours():
    """The query reaches 60 mm further down; what it shows there the support has not got."""
    shift_mm = np.array([0.0, 0.0, -60.0])
    support, query = (oracle(to).embedding for to in (lambda places: places, lambda places: places + shift_mm))
    expected = torch.as_tensor(centres_mm() + shift_mm, dtype=torch.float32)
    everything = torch.ones(CELLS, dtype=torch.bool)
    field = coupled_convex_displacements(support, query, everything, expected, 32.0, 0.02).numpy()
    assert np.abs(field[4:-4, 4:-4]).max() < 8.0, "mm; the affine map is right"
    nowhere = coupled_convex_displacements(support, query, everything, expected - 500, 32.0, 0.02)
    assert not nowhere.any()


def test_every_round_has_a_prior_and_a_width():
    with pytest.raises(BundleError, match="has a prior and a width"):
        CoupledConvexSettings([24.0, 12.0], [8.0])
