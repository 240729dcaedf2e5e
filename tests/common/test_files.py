import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.common import files
from scripts.common.errors import BundleError
from scripts.common.files import (
    atomic_folder,
    atomic_path,
    load_tensors,
    open_nifti,
    read_json,
    read_result,
    remove_file,
    remove_tree,
    sha256_of_file,
    sha256_of_settings,
    write_json,
    write_nifti,
    write_weights,
)
from tests.damage import damage

SPACING_MM = (0.7, 1.3, 3.1)
FULL_DEVICE = Path("/dev/full")


def test_a_failing_writer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="halfway"), atomic_path(tmp_path / "a" / "b.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError("halfway")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert read_json(target) == {"old": 1} and [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_temporary_name_keeps_the_suffix_and_is_on_the_same_disk(tmp_path):
    with atomic_path(tmp_path / "a.nii.gz") as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".nii.gz") and temporary.name.startswith(".")
        temporary.write_text("x")
        assert not (tmp_path / "a.nii.gz").exists()
    assert (tmp_path / "a.nii.gz").read_text(encoding="utf-8") == "x" and not temporary.exists()


def test_what_killed_processes_left_is_swept(tmp_path):
    gone, host = a_process_that_ended(), files._host()
    of_the_dead, of_the_living = f".writing-{gone}-{host}-a.json", f".writing-{os.getppid()}-{host}-a.json"
    of_another_file = f".writing-{gone}-{host}-other-a.json"
    for name in (of_the_dead, of_the_living, of_another_file):
        (tmp_path / name).write_text("half")
    write_json(tmp_path / "a.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", of_the_living, of_another_file}


def test_what_another_machine_writes_stays_until_it_is_long_abandoned(tmp_path):
    """Its processes have numbers that say nothing here; files of before 0.4 do not say which machine."""
    gone = a_process_that_ended()
    others = [tmp_path / f".writing-{gone}-{host}a.json" for host in ("00c0ffee-", "")]
    for other in others:
        other.write_text("half")
    write_json(tmp_path / "a.json", {})
    assert all(other.exists() for other in others)
    for other in others:
        os.utime(other, (time.time() - files.ABANDONED_S - 60,) * 2)
    write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_temporary_file_says_who_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_host", lambda: "00c0ffee")
    with atomic_path(tmp_path / "a.json") as temporary:
        assert temporary.name == f".writing-{os.getpid()}-00c0ffee-a.json"
        temporary.touch()


def a_process_that_ended():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


@pytest.mark.parametrize("below", ["a.json", "deeper/a.json"])
def test_unwritable_folder(tmp_path, below):
    """Below a regular file nobody can write, not even root."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write the file") as caught:
        write_json(tmp_path / "file" / below, {})
    assert caught.value.file == str(tmp_path / "file" / below)
    assert caught.value.expected == "a writable folder with free space"


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="no device that is always full")
def test_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "with_name", lambda self, name: FULL_DEVICE)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    for write in (lambda path: write_json(path, {}), lambda path: write_weights(path, torch.nn.Linear(300, 300))):
        with pytest.raises(BundleError, match="No space left on device"):
            write(tmp_path / "a")


def test_json_round_trip(tmp_path):
    content = {"z": [1, 2.5, None], "a": "ä"}
    write_json(tmp_path / "deep" / "a.json", content)
    assert read_json(tmp_path / "deep" / "a.json") == content
    assert list(json.loads((tmp_path / "deep" / "a.json").read_text(encoding="utf-8"))) == ["z", "a"]


def test_non_finite_numbers_are_refused_before_the_file_is_touched(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "{half", b"\xff\xfe\x00"])
def test_bad_json(tmp_path, text):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BundleError, match="cannot read the JSON file"):
        read_json(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_nifti_keeps_type_and_values(tmp_path, make_affine, dtype):
    array = (np.arange(24).reshape(2, 3, 4) * 3).astype(dtype)
    affine = make_affine("LPS", SPACING_MM, 25)
    write_nifti(tmp_path / "a.nii.gz", array, affine)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == dtype and np.array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"


def headers(affine, array):
    """The same grid stored as quaternion alone, matrix alone, both, and both of different codes."""
    for sform_code, qform_code in ((0, 1), (1, 0), (1, 1), (2, 4), (0, 0)):
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine, code=sform_code)
        image.set_qform(affine, code=qform_code)
        yield image


@pytest.mark.parametrize(("codes", "degrees"), [("LAS", 0), ("LPS", 25), ("RAS", -40), ("ASL", 10)])
def test_like_keeps_the_affine_bit_for_bit(tmp_path, make_affine, codes, degrees):
    array = np.zeros((4, 5, 6), np.int16)
    for number, image in enumerate(headers(make_affine(codes, SPACING_MM, degrees), array)):
        source, target = tmp_path / f"{number}.nii.gz", tmp_path / f"{number}_label.nii.gz"
        nib.save(image, source)
        image = nib.load(source)
        write_nifti(target, np.ones((4, 5, 6), np.uint8), image.affine, like=image)
        written = nib.load(target)
        assert written.affine.tobytes() == image.affine.tobytes()
        assert written.header["qform_code"] == image.header["qform_code"]
        assert written.header["sform_code"] == image.header["sform_code"]
        assert written.header.get_zooms() == image.header.get_zooms()
        assert written.get_data_dtype() == np.uint8 and written.dataobj.slope == 1


def test_opening_reads_what_writing_wrote_and_refuses_other_formats(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    write_nifti(tmp_path / "a.nii.gz", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), affine)
    image = open_nifti(tmp_path / "a.nii.gz")
    assert np.asarray(image.dataobj)[1, 2, 3] == 23 and np.array_equal(image.affine, affine)
    nib.save(nib.Spm99AnalyzeImage(np.zeros((2, 3, 4), np.int16), affine), tmp_path / "b.img")
    with pytest.raises(BundleError, match="this is no NIfTI file"):
        open_nifti(tmp_path / "b.img")


def test_weights_are_flat_cpu_tensors(tmp_path):
    network = torch.nn.Linear(3, 2)
    write_weights(tmp_path / "model.pt", network)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(weights) == {"weight", "bias"} and torch.equal(weights["weight"], network.weight)


def test_fingerprints(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_settings({"a": 1, "b": [2]}) == sha256_of_settings({"b": [2], "a": 1})
    assert sha256_of_settings({"a": 1}) != sha256_of_settings({"a": 2})
    assert sha256_of_settings({"file": Path("x")}) == sha256_of_settings({"file": "x"})


def test_two_processes_do_not_share_a_temporary_name(tmp_path):
    with atomic_path(tmp_path / "a") as temporary:
        assert str(os.getpid()) in temporary.name
        temporary.write_text("")


def test_a_folder_appears_whole_or_not_at_all_and_replaces_the_old_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a") as growing:
        (growing / "new").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]
    with atomic_folder(tmp_path / "a") as growing:
        (growing / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "new"]


def test_half_written_folders_of_killed_processes_are_swept(tmp_path):
    (tmp_path / f".writing-{a_process_that_ended()}-{files._host()}-a" / "below").mkdir(parents=True)
    with atomic_folder(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_removing_a_link_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_a_folder_in_a_files_place_is_not_removed(tmp_path):
    (tmp_path / "a.json" / "below").mkdir(parents=True)
    for replace in (remove_file, lambda path: write_json(path, {})):
        with pytest.raises(BundleError) as caught:
            replace(tmp_path / "a.json")
        assert caught.value.file == str(tmp_path / "a.json")
    assert (tmp_path / "a.json" / "below").exists()


@pytest.mark.parametrize("kind", ["missing", "empty", "cut"])
def test_a_damaged_result_is_one_error_that_names_it(tmp_path, kind):
    file = tmp_path / "a.nii.gz"
    write_nifti(file, np.random.default_rng(0).integers(0, 9, (30, 30, 30), dtype=np.uint8), np.eye(4))
    array, affine = read_result(file)
    assert array.shape == (30, 30, 30) and np.array_equal(affine, np.eye(4))
    damage(file, kind)
    with pytest.raises(BundleError, match="a result of an earlier stage cannot be read") as caught:
        read_result(file)
    assert caught.value.file == str(file)


def test_a_folder_in_the_file_s_place_says_so(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(BundleError, match="cannot write the file") as caught:
        write_json(tmp_path / "a.json", {})
    assert caught.value.expected == "no folder of that name: move it away"


def test_a_tensor_with_a_turned_bit_is_damaged(tmp_path):
    """torch.load alone reads it as another number."""
    file = tmp_path / "model.pt"
    torch.save({"weight": torch.full((1000,), 3.0)}, file)
    assert torch.equal(load_tensors(file)["weight"], torch.full((1000,), 3.0))
    content = bytearray(file.read_bytes())
    place = content.index(torch.full((8,), 3.0).numpy().tobytes()) + 40
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged within: .*data/0"):
        load_tensors(file)
