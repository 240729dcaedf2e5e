"""A label map that somebody changed is kept, what is damaged or untouched is not."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.common.files import sha256_of_file, write_nifti
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import write_record


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Of a label map of ones."""
    write_nifti(tmp_path / "a.nii.gz", np.ones((3, 4, 5), np.uint8), np.diag([1.0, 2, 3, 1]))
    write_record(tmp_path / "a.json", {}, "inputs", [tmp_path / "a.nii.gz"])
    return tmp_path / "a.json"


def _correct(record: Path, value: int) -> None:
    write_nifti(record.with_name("a.nii.gz"), np.full((3, 4, 5), value, np.uint8), np.diag([1.0, 2, 3, 1]))


def _value(file: Path | None) -> int:
    assert file is not None
    return int(np.unique(np.asanyarray(nib.nifti1.load(file).dataobj)).item())


def test_an_untouched_label_map_stays(record: Path) -> None:
    assert set_aside_changed(record) is None
    assert record.with_name("a.nii.gz").exists()


def test_every_changed_version_is_kept_under_the_cases_name(record: Path) -> None:
    _correct(record, 2)
    first = set_aside_changed(record)
    assert not record.with_name("a.nii.gz").exists()
    _correct(record, 3)
    second = set_aside_changed(record)
    assert first == record.parent / "set_aside" / "a.nii.gz"
    assert second == record.parent / "set_aside_2" / "a.nii.gz"
    assert (_value(first), _value(second)) == (2, 3)


def test_a_cut_file_is_no_change(record: Path) -> None:
    _correct(record, 2)
    file = record.with_name("a.nii.gz")
    file.write_bytes(file.read_bytes()[:-6])
    assert set_aside_changed(record) is None


def test_a_file_whose_checksum_is_wrong_is_no_change(record: Path) -> None:
    _correct(record, 2)
    file = record.with_name("a.nii.gz")
    content = bytearray(file.read_bytes())
    content[-6] ^= 1
    file.write_bytes(bytes(content))
    assert set_aside_changed(record) is None


def test_without_a_record_nothing_is_known_and_nothing_moves(record: Path) -> None:
    _correct(record, 2)
    before = sha256_of_file(record.with_name("a.nii.gz"))
    record.write_text("{}", encoding="utf-8")
    assert set_aside_changed(record) is None
    record.unlink()
    assert set_aside_changed(record) is None
    assert sha256_of_file(record.with_name("a.nii.gz")) == before


def test_a_file_in_the_way_is_left_alone(record: Path) -> None:
    record.with_name("set_aside").write_text("mine", encoding="utf-8")
    _correct(record, 2)
    assert set_aside_changed(record) == record.parent / "set_aside_2" / "a.nii.gz"
    assert record.with_name("set_aside").read_text(encoding="utf-8") == "mine"
