"""A study whose file another took the place of: converted again, and no label of the former image is offered."""

import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label import drawn_on
from bundle.monai_label.names import DRAWN_ON, OURS, SHOWN, SUBMITTED, TAG
from bundle.monai_label.studies import watch
from bundle.monai_label.studies.folder import FolderSource
from bundle.monai_label.studies.mirror import MirroredDatastore
from bundle.monai_label.studies.reloading import ReloadingDatastore
from scripts.common.errors import BundleError
from tests.fixtures.ct_series import write_ct

TOLD = "its file was replaced; what was drawn on the image before does not count"
SHAPE = (10, 10, 10)


def ramp(start=0):
    return (np.arange(np.prod(SHAPE), dtype=np.int16) + start).reshape(SHAPE)


def write_nrrd(file, start=0):
    file.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(ramp(start))
    image.SetSpacing((3.0, 3.0, 3.0))
    sitk.WriteImage(image, str(file))


def write_series(folder, start=0, prefix="slice", **changes):
    """`folder` holds the series alone; another start is another series, unless its UID is among the `changes`."""
    made = write_ct(folder.with_name(f"{folder.name}_{start}_made"), ramp(start), "axial", 3.0, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for file in sorted(made.iterdir()):
        file.rename(folder / f"{prefix}_{file.name}")


def a_datastore(tmp_path, in_use=lambda: False):
    """As one that starts now."""
    mirror = tmp_path / "mirror"
    return MirroredDatastore(mirror, FolderSource(tmp_path / "studies", mirror / "series"), in_use)


def label(datastore, study, tags=(TAG, SHOWN), info=None):
    """Save a label on the study's grid."""
    image = nib.load(datastore.get_image_uri(study))
    file = datastore.folder.parent / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), file)
    for tag in tags:
        datastore.save_label(study, str(file), tag, {OURS: {}} if info is None else info)


def lowest(datastore, study):
    return int(nib.load(datastore.get_image_uri(study)).get_fdata().min())


def tags(datastore, study):
    return set(datastore.get_labels_by_image_id(study))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_replaced_file_is_converted_again_and_labels_of_ours_are_not_offered(tmp_path, capsys, restarted):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    datastore = a_datastore(tmp_path)
    label(datastore, "one")
    label(datastore, "one", [SUBMITTED], {})
    assert lowest(datastore, "one") == 0 and datastore.is_submitted("one")
    write_nrrd(tmp_path / "studies" / "one.nrrd", start=100)
    datastore = a_datastore(tmp_path) if restarted else datastore
    assert tags(datastore, "one") == {SUBMITTED}, "before anybody asks for the image"
    assert lowest(datastore, "one") == 100
    assert datastore.get_label_uri("one", TAG) == "" and not datastore.is_submitted("one")
    assert capsys.readouterr().out == f"one: {TOLD}\n", "once"
    label(datastore, "one")
    label(datastore, "one", [SUBMITTED], {})
    assert tags(datastore, "one") == {SUBMITTED, TAG, SHOWN} and datastore.is_submitted("one")


def test_a_file_that_was_only_touched_keeps_its_labels(tmp_path, capsys):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    datastore = a_datastore(tmp_path)
    label(datastore, "one")
    converted = Path(datastore.get_image_uri("one"))
    before = converted.stat().st_mtime_ns
    os.utime(tmp_path / "studies" / "one.nrrd", (1, 1))
    assert tags(datastore, "one") == {TAG, SHOWN}
    again = converted.stat().st_mtime_ns
    assert again > before and lowest(datastore, "one") == 0
    assert Path(datastore.get_image_uri("one")).stat().st_mtime_ns == again, "not converted at every look"
    assert capsys.readouterr().out == ""


def test_a_series_that_was_moved_is_converted_once(tmp_path, monkeypatch):
    """The folder that it lay in holds another one, and nobody has looked at the folders since."""
    studies = tmp_path / "studies"
    monkeypatch.setattr(watch, "FRESH_S", 1000.0)
    write_series(studies / "patient" / "a", SeriesNumber=1)
    write_series(studies / "patient" / "b", start=50, SeriesNumber=2)
    for file in sorted((studies / "patient" / "b").iterdir()):
        file.rename(studies / "patient" / "a" / f"b_{file.name}")
    datastore = a_datastore(tmp_path)
    (study,) = (name for name in datastore.list_images() if name.endswith("_1"))
    assert lowest(datastore, study) == 0
    (studies / "patient" / "moved").mkdir()
    for file in (studies / "patient" / "a").glob("slice_*"):
        file.rename(studies / "patient" / "moved" / file.name)
    converted, convert = [], datastore._convert
    monkeypatch.setattr(datastore, "_convert", lambda *given: converted.append(given) or convert(*given))
    for _ in range(3):
        assert lowest(datastore, study) == 0
    assert len(converted) == 1


def test_conversions_of_an_earlier_version_are_compared_once(tmp_path, capsys):
    for study in ("same", "replaced"):
        write_nrrd(tmp_path / "studies" / f"{study}.nrrd")
        label(a_datastore(tmp_path), study)
        (tmp_path / "mirror" / "converted" / f"{study}.json").unlink()
    write_nrrd(tmp_path / "studies" / "replaced.nrrd", start=7)
    datastore = a_datastore(tmp_path)
    assert tags(datastore, "same") == {TAG, SHOWN} and tags(datastore, "replaced") == set()
    assert lowest(datastore, "replaced") == 7
    assert capsys.readouterr().out == f"replaced: {TOLD}\n"


@pytest.mark.parametrize("place", ["exam", "patient/study"])
def test_a_series_of_files_with_other_names_is_another_image(tmp_path, capsys, place):
    folder = tmp_path / "studies" / place
    write_series(folder, SeriesInstanceUID="1.2.3")
    datastore = a_datastore(tmp_path)
    (study,) = datastore.list_images()
    label(datastore, study)
    assert datastore.run_input(study).is_dir()
    write_series(folder, start=100, prefix="other", SeriesInstanceUID="1.2.3")
    assert tags(datastore, study) == set() and lowest(datastore, study) == 100
    files = sorted(file.resolve() for file in datastore.run_input(study).iterdir())
    assert files == sorted(folder.iterdir())
    assert capsys.readouterr().out == f"{study}: {TOLD}\n"


def test_a_series_keeps_its_labels_when_another_lies_in_its_place(tmp_path, capsys):
    folder = tmp_path / "studies" / "patient" / "study"
    write_series(folder)
    datastore = a_datastore(tmp_path)
    (study,) = datastore.list_images()
    label(datastore, study)
    write_series(folder, start=100)
    assert tags(datastore, study) == {TAG, SHOWN}, "before the folder is looked at again"
    (other,) = datastore.list_images()
    assert other.startswith(f"{study}_") and tags(datastore, other) == set() and lowest(datastore, other) == 100
    write_series(folder)
    later = a_datastore(tmp_path)
    assert later.list_images() == [study] and tags(later, study) == {TAG, SHOWN} and lowest(later, study) == 0
    assert capsys.readouterr().out == ""


def test_a_series_that_was_never_converted_loses_labels_of_ours_too(tmp_path):
    write_series(tmp_path / "studies" / "exam")
    datastore = a_datastore(tmp_path)
    datastore.list_images()
    datastore.run_input("exam")  # by a training
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / "label.nii.gz")
    datastore.save_label("exam", str(tmp_path / "label.nii.gz"), TAG, {OURS: {}})
    assert tags(datastore, "exam") == {TAG}
    write_series(tmp_path / "studies" / "exam", start=100)
    assert tags(datastore, "exam") == set()
    assert not (tmp_path / "mirror" / "exam.nii.gz").exists() and lowest(datastore, "exam") == 100


def test_a_file_that_is_half_there_gives_its_reason_and_no_label_of_ours(tmp_path):
    file = tmp_path / "studies" / "one.nrrd"
    write_nrrd(file)
    datastore = a_datastore(tmp_path)
    label(datastore, "one")
    write_nrrd(file, start=100)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert tags(datastore, "one") == set()
    with pytest.raises(BundleError, match="the volume cannot be read"):
        datastore.get_image_uri("one")
    file.write_bytes(whole)
    assert lowest(datastore, "one") == 100


def test_a_kill_before_the_new_conversion_is_there_leaves_nothing_of_the_old_one(tmp_path, monkeypatch):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    label(a_datastore(tmp_path), "one")
    write_nrrd(tmp_path / "studies" / "one.nrrd", start=100)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    datastore = a_datastore(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(MirroredDatastore, "_note", killed)
        with pytest.raises(Killed):
            datastore.get_image_uri("one")
    datastore = a_datastore(tmp_path)
    assert tags(datastore, "one") == set() and lowest(datastore, "one") == 100


def test_a_study_stays_as_it_is_while_a_training_reads_it(tmp_path):
    at_work = True
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    datastore = a_datastore(tmp_path, lambda: at_work)
    label(datastore, "one")
    write_nrrd(tmp_path / "studies" / "one.nrrd", start=100)
    assert lowest(datastore, "one") == 0 and tags(datastore, "one") == {TAG, SHOWN}
    at_work = False
    assert lowest(datastore, "one") == 100 and tags(datastore, "one") == set()


@pytest.fixture
def nifti(tmp_path):
    """A folder of NIfTI as the server serves it, with a label of ours and one of the user."""
    folder = tmp_path / "nifti"
    folder.mkdir()
    write_nifti_study(folder, 0)
    datastore = ReloadingDatastore(folder)
    datastore.folder = folder
    label(datastore, "one", [TAG, SHOWN], {OURS: {}, DRAWN_ON: datastore.image_mark("one")})
    label(datastore, "one", [SUBMITTED], {})
    return datastore


def write_nifti_study(folder, start):
    nib.save(nib.Nifti1Image(ramp(start), np.diag([3.0, 3.0, 3.0, 1.0])), folder / "one.nii.gz")


def test_a_replaced_nifti_study_has_no_label_of_ours(nifti, capsys):
    assert tags(nifti, "one") == {TAG, SHOWN, SUBMITTED} and nifti.is_submitted("one")
    write_nifti_study(nifti.folder, 100)
    assert nifti.status()["label_tags"] == {SUBMITTED: 1}
    assert tags(nifti, "one") == {SUBMITTED} and not nifti.is_submitted("one")
    assert [file.name for file in (nifti.folder / "labels").rglob("*.nii.gz")] == ["one.nii.gz"]
    told = "one: its image was replaced, so its label is removed; Train makes a new one\n"
    assert capsys.readouterr().out == told, "once"


def test_an_image_that_is_older_than_its_label_is_not_read_again(nifti, monkeypatch):
    hashed = []
    monkeypatch.setattr(drawn_on, "sha256_of_file", lambda file: hashed.append(file) or "another hash")
    drawn_on._hash.cache_clear()
    later = time.time() + 60
    for entry in nifti._datastore.objects["one"].labels.values():
        entry.info["ts"] = later
    nifti._update_datastore_file()
    assert tags(nifti, "one") == {TAG, SHOWN, SUBMITTED} and hashed == []
    os.utime(nifti.folder / "one.nii.gz", (later + 1, later + 1))
    assert tags(nifti, "one") == {SUBMITTED} and len(hashed) == 1


def test_labels_of_ours_without_a_known_image_stay(nifti):
    label(nifti, "one", [TAG], {OURS: {}})
    write_nifti_study(nifti.folder, 100)
    assert tags(nifti, "one") == {TAG, SUBMITTED}


def test_a_label_of_ours_does_not_come_back_with_another_image_as_the_users(nifti):
    (nifti.folder / "one.nii.gz").unlink()
    nifti.refresh()
    assert nifti.list_images() == []
    write_nifti_study(nifti.folder, 100)
    nifti.refresh()
    assert nifti.list_images() == ["one"] and tags(nifti, "one") == {SUBMITTED}
