"""Cells of two voxels of 1 x 2 x 5 mm, and of eight, by hand."""

import math

import numpy as np
import pytest
import torch

from scripts.embedding.cells import CellGrid, vectors_at

SPACING_MM = (1.0, 2.0, 5.0)
GRID = CellGrid((3, 2, 1), SPACING_MM)  # cells of 2 x 4 x 10 mm
AFFINE = np.array([[-1.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])


def test_a_cell_s_sides_are_its_voxels_in_mm():
    assert GRID.cell_mm.tolist() == [2, 4, 10]
    assert CellGrid((1, 1, 1), SPACING_MM, stride=8).cell_mm.tolist() == [8, 16, 40]


def test_centres_lie_between_the_first_and_the_last_voxel_of_a_cell():
    assert GRID.centres().shape == (3, 2, 1, 3)
    assert GRID.centres()[2, 1, 0].tolist() == [4.5, 2.5, 0.5]
    assert CellGrid((2, 1, 1), SPACING_MM, stride=8).centres()[1, 0, 0].tolist() == [11.5, 3.5, 3.5]


def test_centres_in_mm_also_beyond_the_grid():
    cells = torch.tensor([[0, 0, 0], [2, 1, 0], [-1, 5, 1]])
    assert GRID.centres_mm(cells).tolist() == [[0.5, 1, 2.5], [4.5, 5, 2.5], [-1.5, 21, 12.5]]


def test_the_nearest_cell_in_mm_also_beyond_the_grid():
    centres_mm = GRID.centres_mm(torch.tensor([[2, 1, 0], [-1, 5, 1]]))
    nearly_half_a_cell_mm = torch.tensor([0.9, -1.9, 4.9])
    assert GRID.nearest(centres_mm + nearly_half_a_cell_mm).tolist() == [[2, 1, 0], [-1, 5, 1]]


def test_fractional_indices_are_whole_at_the_centres():
    assert GRID.fractional(np.array([[4.5, 2.5, 0.5], [0.0, 1.0, 1.5]])).tolist() == [[2, 1, 0], [-0.25, 0.25, 0.5]]


def test_whole_cells_within_a_distance():
    assert GRID.steps(10.0) == [5, 2, 1] and GRID.steps(9.9) == [4, 2, 0]


def test_the_affine_of_the_cells_puts_their_centres_where_the_voxels_are():
    world_mm = GRID.affine(AFFINE) @ [2, 1, 0, 1]
    assert world_mm.tolist() == (AFFINE @ [4.5, 2.5, 0.5, 1]).tolist() == [15.5, -25, 9.5, 1]


def test_shares_of_a_cell_by_hand():
    """Voxels beyond the volume, the second half of the last cell, are background."""
    shares = np.zeros((2, 4, 2, 2), dtype=bool)
    shares[0, 0] = True
    shares[1, 2:, 0, 0] = True
    fractions = CellGrid((3, 1, 1), SPACING_MM).fractions(shares)
    assert fractions[:, :, 0, 0].T.tolist() == [[0.5, 0.5, 0.0], [0.75, 0.0, 0.25], [1.0, 0.0, 0.0]]


def test_half_a_cell_is_not_mostly_in_and_its_lower_middle_voxel_may_be():
    mask = torch.zeros(6, 2, 2)
    mask[:2], mask[2, :, :], mask[5, 1, 1] = 1, 1, 1
    grid = CellGrid((4, 1, 1), SPACING_MM)
    assert grid.mostly_in(mask).flatten().tolist() == [True, False, False, False]
    assert grid.centred_in(mask).flatten().tolist() == [True, True, False, False], "the last cell is beyond the volume"


def test_a_box_of_voxels_is_covered_by_cells():
    assert GRID.covering((slice(1, 4), slice(2, 3), slice(0, 2))) == (slice(0, 2), slice(1, 2), slice(0, 1))


def test_cells_within_reach_of_places_end_at_the_grid():
    grid = CellGrid((20, 20, 20), SPACING_MM)
    places_mm = torch.tensor([[10.0, 20.0, 5.0], [13.0, 20.0, 5.0]])
    # From 10 - 4 to 13 + 4 mm in cells of 2 mm; from 16 to 24 mm in cells of 4 mm; from 1 to 9 mm in cells of 10 mm.
    assert grid.within_reach(places_mm, 4.0) == (slice(3, 10), slice(4, 7), slice(0, 2))
    assert grid.within_reach(places_mm - 100, 4.0) == (slice(0, 0), slice(0, 0), slice(0, 0)), "none"
    assert grid.within_reach(places_mm + 30, 1000.0) == (slice(0, 20),) * 3


@pytest.mark.parametrize("cells", [(6, 5, 1), (7, 4, 2)])
def test_an_affine_map_is_followed_at_every_other_cell(cells):
    grid = CellGrid(cells, (4.0, 2.0, 5.0))

    def affine_map(places_mm):
        return places_mm @ np.array([[1.1, 0.2, 0], [0, 0.9, 0], [0, 0, 1]]).T + [3.0, 0, 0]

    whole = tuple(slice(0, size) for size in cells)
    mapped_mm = grid.mapped(whole, affine_map)
    exact_mm = affine_map((grid.centres().numpy() * [4.0, 2.0, 5.0]).reshape(-1, 3)).reshape(*cells, 3)
    assert np.abs(mapped_mm.numpy() - exact_mm).max() < 1e-5
    part = tuple(slice(size // 3, size) for size in cells)
    torch.testing.assert_close(grid.mapped(part, affine_map), mapped_mm[part])


def test_vectors_are_read_at_the_centres_of_cells():
    cells = torch.nn.functional.normalize(torch.rand(1, 4, 3, 3, 3), dim=1)
    centre = torch.tensor([[[0.5, 2.5, 4.5]]])  # stride 2: cell 0 covers voxels 0 and 1
    torch.testing.assert_close(vectors_at(cells, centre, 2)[0, 0], cells[0, :, 0, 1, 2])


def test_vectors_between_two_cells_are_of_unit_length_again():
    cells = torch.zeros(1, 2, 2, 1, 1)
    cells[0, 0, 0], cells[0, 1, 1] = 1.0, 1.0
    halfway = vectors_at(cells, torch.tensor([[[1.5, 0.5, 0.5]]]), 2)[0, 0]
    assert halfway.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
