"""What lies in a folder: names of cases, and what is not used."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.reading import folder
from scripts.data.reading.dicom_headers import read_headers
from scripts.data.volume_io import (
    find_label_maps,
    find_volumes,
    read_volume,
    refuse_images_among_results,
    scan_folder,
)
from tests.fixtures.dicom_files import REPORT, SEGMENTATION, header, write_enhanced, write_object, write_series

SHAPE = (10, 9, 8)
POSITIONS_MM = [(0.0, 0.0, 5.0 * k) for k in range(8)]


def scan(seed=0):
    return np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.float32)


def write_nifti(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(scan(), np.diag([4.0, 3.0, 5.0, 1.0])), path)


def test_a_tree_of_series_is_one_case_a_series(tmp_path):
    write_series(tmp_path / "P1" / "study" / "arterial", scan(1), POSITIONS_MM, "1.2.1", number=2)
    write_series(tmp_path / "P1" / "study" / "venous", scan(2), POSITIONS_MM, "1.2.2", number=3)
    write_series(tmp_path / "P1" / "study" / "scout", scan(3), POSITIONS_MM[:2], "1.2.3", number=1)
    write_series(tmp_path / "P2" / "study", scan(4), POSITIONS_MM, "1.2.4", patient=b"M\xfcller/2", date="")
    found = scan_folder(tmp_path)
    assert list(found.volumes) == ["M_ller_2_4", "P_1_20200131_2", "P_1_20200131_3"]
    np.testing.assert_array_equal(read_volume(found.volumes["P_1_20200131_3"]).array, scan(2))
    scout = tmp_path / "P1" / "study" / "scout" / "1.2.3-00.dcm"
    assert found.unused == [(scout, "DICOM series of 2 images, no volume")]


def test_loose_slices_of_several_series(tmp_path):
    write_series(tmp_path, scan(1), POSITIONS_MM, "1.2.1", number=2)
    write_series(tmp_path, scan(2), POSITIONS_MM, "1.2.2", number=3)
    write_enhanced(tmp_path / "enhanced", scan(3), POSITIONS_MM, "1.2.3", patient="Q")
    found = scan_folder(tmp_path)
    assert list(found.volumes) == ["P_1_20200131_2", "P_1_20200131_3", "Q_20200131_4"] and found.unused == []
    for case, seed in zip(found.volumes, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(read_volume(found.volumes[case]).array, scan(seed))


def test_series_of_one_name_get_a_mark_that_stays(tmp_path):
    write_series(tmp_path / "a" / "b", scan(1), POSITIONS_MM, "1.2.1")
    write_series(tmp_path / "a" / "b", scan(2), POSITIONS_MM, "1.2.2")
    names = list(find_volumes(tmp_path))
    assert len(set(names)) == 2 and all(name.startswith("P_1_20200131_4_") for name in names)
    write_series(tmp_path / "a" / "c", scan(3), POSITIONS_MM, "1.2.3")
    assert set(names) < set(find_volumes(tmp_path))


def test_a_sub_folder_keeps_its_name_and_takes_its_longest_series(tmp_path):
    write_series(tmp_path / "case.1", scan(), POSITIONS_MM)
    write_series(tmp_path / "case.1", scan()[:, :, :3], POSITIONS_MM[:3], "1.2.9")
    for file in write_series(tmp_path / "cut", scan(), POSITIONS_MM):
        file.write_bytes(b"")
    found = scan_folder(tmp_path)
    assert found.volumes == {"case.1": tmp_path / "case.1", "cut": tmp_path / "cut"}
    assert found.unused == [(tmp_path / "case.1" / "1.2.9-00.dcm", "DICOM series of 3 images, no volume")]


def test_what_is_not_used_is_told(tmp_path):
    write_nifti(tmp_path / "a.nii.gz")
    write_nifti(tmp_path / "deeper" / "b.nii")
    (tmp_path / "letter.pdf").write_text("%PDF")
    (tmp_path / ".hidden.txt").write_text("")
    (tmp_path / "pair.img").write_bytes(b"1")
    (tmp_path / "a.seg.nrrd").write_bytes(b"NRRD")
    write_object(tmp_path / "report", REPORT, header("1.2.8", modality="SR"))
    write_object(tmp_path / "labels.dcm", SEGMENTATION, header("1.2.8", modality="SEG"))
    for number in range(412):
        (tmp_path / "deeper" / f"{number}.txt").write_text("")
    found = scan_folder(tmp_path)
    assert list(found.volumes) == ["a"]
    assert {(path.name, reason) for path, reason in found.unused} == {
        ("a.seg.nrrd", "segmentation, no scan"),
        ("b.nii", "volume in a nested folder: move it 1 up"),
        ("deeper", "412 files: no volume (.txt)"),
        ("labels.dcm", "DICOM segmentation, registration or raw data"),
        ("letter.pdf", "no volume (.pdf)"),
        ("pair.img", "NIfTI or Analyze pair: save it as one .nii.gz file"),
        ("report", "DICOM structured report"),
    }


def test_a_folder_below_that_cannot_be_read_is_told_and_the_others_are_used(tmp_path, monkeypatch):
    write_nifti(tmp_path / "a.nii.gz")
    (tmp_path / "lost+found").mkdir()
    listed = folder._visible

    def visible(place):
        if place.name in ("lost+found", "closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(folder, "_visible", visible)
    found = scan_folder(tmp_path)
    assert list(found.volumes) == ["a"] and found.unused == [(tmp_path / "lost+found", "folder that cannot be read")]
    (tmp_path / "closed").mkdir()
    with pytest.raises(PermissionError):
        scan_folder(tmp_path / "closed")


def test_data_of_detached_headers_are_used(tmp_path):
    (tmp_path / "a.mhd").write_text("ElementDataFile = other.raw\n")
    (tmp_path / "other.raw").write_bytes(b"1")
    assert scan_folder(tmp_path).unused == [] and list(find_volumes(tmp_path)) == ["a"]


def test_segmentations_are_label_maps(tmp_path):
    write_nifti(tmp_path / "a.nii.gz")
    (tmp_path / "b.seg.nrrd").write_bytes(b"NRRD")
    assert list(find_label_maps(tmp_path)) == ["a", "b"] and list(find_volumes(tmp_path)) == ["a"]
    (tmp_path / "a.seg.nrrd").write_bytes(b"NRRD")
    with pytest.raises(BundleError, match="two volumes have the same name"):
        find_label_maps(tmp_path)


def test_a_later_scan_reads_changed_folders_again_and_no_other(tmp_path, monkeypatch):
    images = tmp_path / "images"
    for number, name in enumerate(("first", "deep/first", "deep/second")):
        write_series(images / name, scan(number), POSITIONS_MM, f"1.2.{number}", number=number)
    before = scan_folder(images)
    write_series(images / "deep" / "third", scan(7), POSITIONS_MM, "1.2.7", number=7)
    (images / "first").rename(images / "renamed")
    read = []
    monkeypatch.setattr(folder, "read_headers", lambda place: read.append(place.name) or read_headers(place))
    after = scan_folder(images, before)
    assert sorted(read) == ["deep", "images", "renamed", "third"]
    assert after == scan_folder(images)
    assert len(after.volumes) == 4 and "renamed" in after.volumes and "first" not in after.volumes


@pytest.mark.parametrize("images", ["out", "out/../out", "link", "out/images", "out/predictions/below"])
def test_images_where_results_go_are_refused(tmp_path, images):
    (tmp_path / "out" / "predictions" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(BundleError, match="the next run would take them for volumes"):
        refuse_images_among_results(tmp_path / images, tmp_path / "out", ("images", "predictions"), "settings")


@pytest.mark.parametrize(("images", "output"), [("out/mine", "out"), ("images", "images/out"), ("images", "images2")])
def test_images_that_no_result_meets_are_fine(tmp_path, images, output):
    refuse_images_among_results(tmp_path / images, tmp_path / output, ("images", "predictions"), "settings")
