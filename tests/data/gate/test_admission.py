"""What a header alone refuses, and how verdicts are told."""

import pathlib

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.gate import size
from scripts.data.gate.admission import admit, left_out_lines, verdict_lines
from scripts.data.gate.size import available_memory, check_size
from tests.data.gate.bodies import chest
from tests.data.gate.volume_headers import AFFINE, claim


def save(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def test_more_voxels_than_a_file_can_hold(tmp_path):
    with pytest.raises(BundleError, match="more voxels than the file can hold") as caught:
        check_size(claim(tmp_path / "a.nii.gz", (1500, 1500, 1000)))
    assert caught.value.case == "a" and caught.value.found == "1500 x 1500 x 1000 voxels"


def test_more_voxels_than_anyone_scans(tmp_path):
    with pytest.raises(BundleError, match="the volume is too large"):
        check_size(claim(tmp_path / "a.nii", (30000, 30000, 30000)))


def test_more_voxels_than_memory(tmp_path, monkeypatch):
    file = save(tmp_path / "a.nii", np.zeros((10, 10, 10), np.int16))
    monkeypatch.setattr(size, "available_memory", lambda: 11999)  # 12 bytes for each of 1000 voxels
    with pytest.raises(BundleError, match="too little memory"):
        check_size(file)
    monkeypatch.setattr(size, "available_memory", lambda: 12000)
    check_size(file)


def test_available_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "MEMORY", tmp_path / "meminfo")
    assert available_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal:       4 kB\nMemAvailable:       3 kB\n")
    assert available_memory() == 3072


def test_what_has_no_header_is_left_to_reading(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    pathlib.Path(tmp_path / "b.nii.gz").symlink_to(tmp_path / "nowhere")
    for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz"):
        check_size(tmp_path / name)


def test_verdicts_on_files(tmp_path):
    assert admit(save(tmp_path / "good.nii.gz", chest().astype(np.int16))).remarks == ()
    (remark,) = admit(save(tmp_path / "cut.nii.gz", np.maximum(chest(), 0).astype(np.int16))).remarks
    assert "like those of MR" in remark and "look at its label map" in remark
    with pytest.raises(BundleError, match="water lies near 1024") as caught:
        admit(save(tmp_path / "raw.nii.gz", (chest() + 1024).astype(np.int16)))
    assert "subtract 1024" in caught.value.expected and caught.value.found.startswith("values from 0 to")


@pytest.mark.parametrize("name", ["abd_1_seg", "abd_1-label", "abd_1_Scribbles"])
def test_the_name_of_a_label_map_helps(tmp_path, name):
    with pytest.raises(BundleError, match="this is a label map or scribbles") as caught:
        admit(save(tmp_path / f"{name}.nii.gz", (chest() > 0).astype(np.uint8)))
    assert caught.value.found == "values from 0 to 1, by its name of abd_1"


def test_cases_with_the_same_verdict_share_a_line():
    assert verdict_lines({"a": ["odd", "late"], "b": ["odd"]}) == ["a, b: odd", "a: late"]
    (line,) = verdict_lines({str(n): ["odd"] for n in range(12)})
    assert line == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: odd"
    labels = [BundleError("a label map", expected="move it", found=n, case=name) for n, name in enumerate("ab")]
    assert left_out_lines(dict(zip("ab", labels, strict=True))) == ["left out: a, b: a label map; expected: move it"]
    assert left_out_lines({"a": labels[0]}) == [f"left out: {labels[0]}"]
