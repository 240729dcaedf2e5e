import nibabel as nib
import numpy as np
import pytest

from scripts.common.files import write_nifti
from scripts.data.probability_maps import probabilities_on_grid, read_probabilities
from scripts.pseudo_labels.seeds import seeds_from_probabilities

CELLS = np.diag([8.0, 8.0, 10.0, 1.0])


def probabilities():
    """Three cells along x: background, undecided, liver."""
    liver = np.array([0.0, 0.6, 1.0]).reshape(3, 1, 1)
    return np.stack([1 - liver, liver])


def test_confident_cells_become_seeds_on_a_finer_grid():
    fine = np.diag([4.0, 8.0, 10.0, 1.0])  # voxel n lies at cell n / 2
    seeds = seeds_from_probabilities(probabilities_on_grid(probabilities(), CELLS, fine, (5, 1, 1)), confident=0.75)
    assert seeds[1, :, 0, 0].tolist() == [False, False, False, True, True], "probabilities 0, 0.3, 0.6, 0.8, 1"
    assert seeds[0, :, 0, 0].tolist() == [True, False, False, False, False]


def test_background_needs_a_higher_probability():
    fine = np.diag([4.0, 8.0, 10.0, 1.0])
    finer = probabilities_on_grid(probabilities(), CELLS, fine, (5, 1, 1))
    seeds = seeds_from_probabilities(finer, confident=0.55, background_confident=0.75)
    assert seeds[0, :, 0, 0].tolist() == [True, False, False, False, False], "probabilities 1, 0.7, 0.4, 0.2, 0"
    assert seeds[1, :, 0, 0].tolist() == [False, False, True, True, True]


def test_beyond_the_cells_is_background():
    shifted = CELLS.copy()
    shifted[0, 3] = -16.0
    seeds = seeds_from_probabilities(probabilities_on_grid(probabilities(), CELLS, shifted, (7, 1, 1)), confident=0.9)
    assert seeds[0, :, 0, 0].tolist() == [True, True, True, False, False, True, True]
    assert seeds[1, :, 0, 0].tolist() == [False, False, False, False, True, False, False]


def test_no_voxel_belongs_to_two_classes():
    random = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 3, 3)).transpose(3, 0, 1, 2)
    finer = probabilities_on_grid(random, CELLS, CELLS / 2 + np.diag([0, 0, 0, 0.5]), (5, 5, 5))
    assert seeds_from_probabilities(finer, 0.51).sum(axis=0).max() <= 1
    with pytest.raises(ValueError, match="above one half"):
        seeds_from_probabilities(random, 0.5)
    with pytest.raises(ValueError, match="for background"):
        seeds_from_probabilities(random, 0.8, 0.4)


def test_probabilities_come_back_from_disk(tmp_path):
    written = np.moveaxis((probabilities() * 255).round().astype(np.uint8), 0, -1)
    write_nifti(tmp_path / "a.nii.gz", written, CELLS)
    stored, affine = read_probabilities(tmp_path / "a.nii.gz")
    assert stored == pytest.approx(probabilities(), abs=0.003) and affine == pytest.approx(CELLS)
    assert nib.load(tmp_path / "a.nii.gz").shape == (3, 1, 1, 2)


def test_axes_that_are_not_parallel_are_an_error_unless_that_was_said():
    """Cells along x; a voxel of the sheared grid lies half a cell further along x for each step along z."""
    sheared = CELLS.copy()
    sheared[0, 2] = 4.0
    with pytest.raises(ValueError, match="not parallel"):
        probabilities_on_grid(probabilities(), CELLS, sheared, (3, 1, 1))
    flat = np.tile(probabilities(), (1, 1, 1, 2))
    on_sheared = probabilities_on_grid(flat, CELLS, sheared, (3, 1, 2), parallel=False)
    assert on_sheared[1, :, 0, 0] == pytest.approx([0.0, 0.6, 1.0])
    assert on_sheared[1, :, 0, 1] == pytest.approx([0.3, 0.8, 0.5]), "half a cell further; the last meets background"
    assert on_sheared.sum(axis=0) == pytest.approx(1.0)
