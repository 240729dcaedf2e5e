"""Planted faults are the ones they are said to be; on real CT the guarded rule mends them and loses no class."""

import os

import numpy as np
import pytest
import torch

from tests.fixtures.planted_noise import plant_noise
from tests.fixtures.real_data import data
from tests.segmentation.noise_experiment import COHORT, experiment


def truths():
    """Ten cases, two classes; the second case lacks class 2."""
    maps = {f"case_{n}": np.zeros((20, 20, 20), np.uint8) for n in range(10)}
    for n, truth in enumerate(maps.values()):
        truth[5:11, 5:11, 5:11] = 1
        if n != 1:
            truth[14:18, 14:18, 14:18] = 2
    return maps


def test_half_of_the_faults_are_missing_classes_and_the_rest_is_untouched():
    maps = truths()
    noise = plant_noise(maps, [1, 2], 0.4, seed=3)
    assert (len(noise.missing), len(noise.distorted)) == (4, 4)
    assert len({*noise.missing, *noise.distorted}) == 8
    for case, truth in maps.items():
        for value in (1, 2):
            label = noise.labels[case] == value
            if (case, value) in noise.missing:
                assert not label.any() and (truth == value).any()
            elif (case, value) not in noise.distorted:
                assert np.array_equal(label, truth == value)


def test_distorted_classes_are_eroded_by_a_voxel_and_moved_by_three():
    maps = truths()
    noise = plant_noise(maps, [1], 1.0, seed=0)
    assert len(noise.distorted) == 5
    for case, value in noise.distorted:
        label, truth = (np.argwhere(volume == value) for volume in (noise.labels[case], maps[case]))
        assert len(label) == 4**3
        assert sorted(np.abs(label.mean(axis=0) - truth.mean(axis=0)).tolist()) == [0, 0, 3]


def test_the_draw_depends_on_the_seed_alone():
    first, second, other = (plant_noise(truths(), [1, 2], 0.5, seed) for seed in (1, 1, 2))
    assert first.missing == second.missing and first.missing != other.missing
    assert all(np.array_equal(first.labels[case], second.labels[case]) for case in first.labels)


@pytest.mark.slow
@pytest.mark.skipif(
    "ONESHOT_DATA" not in os.environ, reason="ONESHOT_DATA does not name the real CT; a quarter of an hour a row"
)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_guarded_correction_mends_missing_organs_and_loses_none(tmp_path, share):
    """Where half of the labels are wrong nothing is mended (decisions.md): then nothing may be lost either."""
    torch.set_num_threads(1)
    scores = experiment(data(COHORT), tmp_path, share, "guarded")
    assert scores.lost == ()
    assert share == 0.5 or scores.mended >= scores.missing / 2
    assert scores.distorted_after >= scores.distorted_before
