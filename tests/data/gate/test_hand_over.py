"""What is handed on equals what MONAI reads; what may differ by rounding, or finds no room, is read again."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged

from scripts.data.gate import hand_over
from scripts.data.gate.hand_over import LoadHeldd, handing_over, hold
from scripts.data.volume_io import read_volume
from tests.data.gate.bodies import chest

AFFINE = np.array([[0.0, -3.0, 0, 7], [3, 0, 0, -5], [0, 0, 5, 2], [0, 0, 0, 1]])
OTHER = 12345.0  # a value that no file holds: who sees it was handed it


def save(file, slope=1.0, inter=0.0, dtype=np.int16):
    image = nib.Nifti1Image(chest().astype(dtype), AFFINE)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, file)
    return file


def loaded(file, transform=LoadHeldd):
    return transform(["image"])({"image": str(file)})["image"]


def is_handed_on(file):
    with handing_over():
        hold(file, np.full(chest().shape, OTHER, dtype=np.float32))
        return bool((loaded(file) == OTHER).all())


@pytest.mark.parametrize(("slope", "inter"), [(1.0, 0.0), (1.0, -1024.0)])
def test_a_held_volume_equals_what_monai_reads(tmp_path, slope, inter):
    file = save(tmp_path / "a.nii.gz", slope, inter)
    assert is_handed_on(file)
    with handing_over():
        hold(file, read_volume(file).array)
        held = loaded(file)
    plain = loaded(file, LoadImaged)
    assert held.dtype == plain.dtype and torch.equal(held.as_tensor(), plain.as_tensor())
    assert torch.equal(held.affine, plain.affine) and held.meta.keys() == plain.meta.keys()
    for key in ("original_affine", "spatial_shape", "filename_or_obj", "pixdim"):
        assert np.array_equal(held.meta[key], plain.meta[key]), key


def test_a_volume_is_handed_on_once_and_only_to_who_asks_for_its_file(tmp_path):
    first, second = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz")
    with handing_over():
        hold(first, np.full(chest().shape, OTHER, dtype=np.float32))
        assert loaded(second).max() < OTHER
        assert loaded(first).max() == OTHER and loaded(first).max() < OTHER
    assert loaded(first).max() < OTHER


def test_what_readers_may_round_differently_is_read_again(tmp_path):
    assert not is_handed_on(save(tmp_path / "slope.nii.gz", slope=0.1))
    assert not is_handed_on(save(tmp_path / "fraction.nii.gz", inter=0.1))
    assert not is_handed_on(save(tmp_path / "wide.nii.gz", inter=1.0, dtype=np.int32))
    assert is_handed_on(save(tmp_path / "float.nii.gz", dtype=np.float64))


def test_what_finds_no_room_is_read_again(tmp_path, monkeypatch):
    file = save(tmp_path / "a.nii.gz")
    monkeypatch.setattr(hand_over, "HELD_BYTES", chest().size * 4)
    assert is_handed_on(file)
    monkeypatch.setattr(hand_over, "HELD_BYTES", chest().size * 4 - 1)
    assert not is_handed_on(file)


def test_nothing_is_held_unless_somebody_hands_over(tmp_path):
    file = save(tmp_path / "a.nii.gz")
    hold(file, np.full(chest().shape, OTHER, dtype=np.float32))
    with handing_over():
        assert loaded(file).max() < OTHER
