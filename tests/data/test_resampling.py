"""Shares of classes on another grid."""

import numpy as np

from scripts.data.resampling import shares_on_grid
from scripts.data.volume_io import Volume


def test_shares_of_a_label_map_on_a_coarser_grid():
    """Voxels of 1 x 2 x 3 mm in voxels of 2 x 2 x 3 mm that begin where the former do; the last has one outside."""
    label = np.array([5, 5, 5, 7, 0, 7, 7], dtype=np.uint8).reshape(7, 1, 1)
    coarser = np.diag([2.0, 2.0, 3.0, 1.0])
    coarser[0, 3] = 0.5
    shares = shares_on_grid(Volume(label, np.diag([1.0, 2.0, 3.0, 1.0])), [7, 5], coarser, (4, 1, 1))
    assert shares.dtype == np.float32
    assert shares[:, :, 0, 0].tolist() == [[0, 0.5, 0.5, 0.5], [1, 0.5, 0, 0]]


def test_shares_on_a_finer_grid_are_those_of_the_nearest_voxel():
    label = np.array([5, 0], dtype=np.uint8).reshape(1, 1, 2)
    finer = np.diag([2.0, 2.0, 1.5, 1.0])
    finer[2, 3] = -0.75
    assert shares_on_grid(Volume(label, np.diag([2.0, 2.0, 3.0, 1.0])), [5], finer, (1, 1, 4)).tolist() == [
        [[[1, 1, 0, 0]]]
    ]
