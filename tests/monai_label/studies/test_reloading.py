"""The folder of studies and labels that the server and a training share."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from monailabel.interfaces.exception import ImageNotFoundException

from bundle.monai_label.names import DRAWN_ON, SUBMITTED, TAG
from bundle.monai_label.studies import reloading
from bundle.monai_label.studies.reloading import ReloadingDatastore
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from scripts.data.volume_io import read_labels


def write_map(file, value=0, size=8):
    nib.save(nib.Nifti1Image(np.full((size,) * 3, value, np.uint8), np.diag([3.0, 3.0, 3.0, 1.0])), file)
    return file


def a_datastore(folder):
    """With the studies that lie there."""
    return ReloadingDatastore(folder)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    write_map(folder / "one.nii.gz")
    return folder


def test_a_kill_while_the_list_is_written_leaves_the_list_of_before(folder, tmp_path, monkeypatch):
    datastore = a_datastore(folder)
    before = (folder / "datastore_v2.json").read_bytes()

    class Killed(BaseException):
        pass

    def half(file, text, **_):
        with Path(file).open("w", encoding="utf-8") as begun:
            begun.write(text[: len(text) // 2])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", half)
        with pytest.raises(Killed):
            datastore.save_label("one", str(write_map(tmp_path / "label.nii.gz", 1)), "oneshot", {"final": True})
    assert (folder / "datastore_v2.json").read_bytes() == before
    assert a_datastore(folder).list_images() == ["one"]


def test_a_label_is_read_whole_while_another_takes_its_place(folder, tmp_path, monkeypatch):
    datastore = a_datastore(folder)
    label = folder / "labels" / TAG / "one.nii.gz"
    assert datastore.save_label("one", str(write_map(tmp_path / "first.nii.gz", 1)), TAG, {"round": 1}) == "one"
    seen, copy = [], shutil.copy

    def slow(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:9])
        seen.append(read_labels(label).array.max())
        return copy(source, target)

    monkeypatch.setattr(reloading.shutil, "copy", slow)
    datastore.save_label("one", str(write_map(tmp_path / "second.nii.gz", 2)), TAG, {"round": 2})
    assert seen == [1] and read_labels(label).array.max() == 2
    info = a_datastore(folder).get_label_info("one", TAG)
    assert (info["round"], info["name"]) == (2, "one.nii.gz") and info["ts"] > 0
    assert [file.name for file in label.parent.iterdir()] == ["one.nii.gz"]


def test_a_label_of_no_study_is_refused(folder, tmp_path):
    with pytest.raises(ImageNotFoundException):
        a_datastore(folder).save_label("two", str(write_map(tmp_path / "label.nii.gz", 1)), TAG, {})


def test_a_submission_says_which_image_it_was_drawn_on(folder, tmp_path):
    datastore, label = a_datastore(folder), str(write_map(tmp_path / "label.nii.gz", 1))
    datastore.save_label("one", label, SUBMITTED, {DRAWN_ON: "what a client says"})
    first = sha256_of_file(folder / "one.nii.gz")
    assert datastore.get_label_info("one", SUBMITTED)[DRAWN_ON] == first
    write_map(folder / "one.nii.gz", 7)
    datastore.save_label("one", label, SUBMITTED, {})
    assert datastore.get_label_info("one", SUBMITTED)[DRAWN_ON] == sha256_of_file(folder / "one.nii.gz") != first


def test_a_submission_is_read_once_and_passed_on_before_it_is_saved(folder, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(reloading, "read_labels", lambda file: read.append(file) or read_labels(file))
    passed_on = []

    class PassingOn(ReloadingDatastore):
        def take_submission(self, study, label, file, info):
            passed_on.append((study, label.array.max(), file, self.get_labels_by_image_id(study)))
            return {**info, "noted": True}

    datastore = PassingOn(folder)
    label = write_map(tmp_path / "label.nii.gz", 1)
    datastore.save_label("one", str(label), SUBMITTED, {})
    assert passed_on == [("one", 1, label, {})] and read == [str(label)]
    assert datastore.get_label_info("one", SUBMITTED)["noted"]
    datastore.save_label("one", str(label), TAG, {})
    with pytest.raises(BundleError, match="does not lie on the study's grid"):
        datastore.save_label("one", str(write_map(tmp_path / "other.nii.gz", 1, size=9)), SUBMITTED, {})
    assert len(passed_on) == 1


def test_what_another_process_notes_is_noticed(folder):
    server, training = a_datastore(folder), a_datastore(folder)
    for note in ("first", "second"):
        training.update_image_info("one", {"note": note})
        assert server.get_image_info("one")["note"] == note
