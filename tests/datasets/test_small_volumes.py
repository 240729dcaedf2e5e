import numpy as np
import pytest

from bundle.datasets import small_volumes as module
from scripts.data.volume_io import read_labels, read_volume


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENTS", 1)
    module.write_small_volumes(tmp_path, 2)
    return tmp_path


def test_volumes_are_small_and_each_has_its_own_noise(folder):
    first, second = (read_volume(folder / "images" / f"small_0000{number}.nii.gz") for number in (0, 1))
    assert first.array.shape == second.array.shape == module.SHAPE
    noise = (second.array - first.array).std() / 2**0.5
    assert noise == pytest.approx(module.NOISE_HU, rel=0.05)


def test_the_first_volume_has_strokes_of_the_organ_and_of_the_background(folder):
    values = set(np.unique(read_labels(folder / "scribbles.nii.gz").array).tolist())
    assert values == {0, module.CLASSES["liver"], module.BACKGROUND}


def test_a_larger_cohort_begins_with_the_volumes_of_the_smaller_one(folder):
    before = (folder / "images" / "small_00001.nii.gz").read_bytes()
    module.write_small_volumes(folder, 3)
    assert (folder / "images" / "small_00001.nii.gz").read_bytes() == before
    assert len(list((folder / "images").iterdir())) == 3
