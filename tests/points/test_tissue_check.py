import numpy as np
import pytest

from scripts.points.tissue_check import local_intensities, tissue_misfits


def test_local_intensity_is_the_median_of_27_voxels():
    image = np.zeros((4, 5, 6), dtype=np.float32)
    image[2, 2, 2] = 1.0  # noise: one voxel decides nothing
    image[0:2, 3:5, 3:6] = 0.7
    intensities = local_intensities(image, np.array([[2, 2, 2], [0, 4, 4], [0, 0, 0]]))
    assert intensities.tolist() == pytest.approx([0.0, 0.7, 0.0]), "the border is continued by its own voxels"


def test_misfit_is_the_distance_from_the_strokes_range():
    labels = np.array([1] * 101 + [2] * 3 + [0])
    support = np.concatenate([np.linspace(0.0, 1.0, 101), [0.5, 0.5, 0.5], [0.1]])
    located = np.full(105, 0.5)
    located[0], located[1], located[101], located[104] = 1.0, -0.08, 0.2, 0.9
    misfits = tissue_misfits(labels, support, located)
    assert misfits[0] == pytest.approx(1.0 - 0.98) and misfits[1] == pytest.approx(0.02 + 0.08)
    assert misfits[101] == pytest.approx(0.3), "each class has its own range"
    assert misfits[104] == 0, "background is many tissues"
    assert (misfits[2:101] == 0).all() and (misfits[102:104] == 0).all()
