"""The folder of studies and labels that the server and a training share."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from monailabel.datastore.local import LocalDatastore

from bundle.monai_label.studies.reloading import ReloadingDatastore

PATIENCE_S = 20


def write_map(file, value=0):
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), value, np.uint8), np.eye(4)), file)
    return file


def a_datastore(folder):
    """With the studies that lie there; the server's watches its folder."""
    return ReloadingDatastore(str(folder), extensions=("*.nii.gz",), auto_reload=True)


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


def test_what_another_process_notes_is_noticed(folder):
    server, training = a_datastore(folder), a_datastore(folder)
    training.update_image_info("one", {"note": "new"})
    end = time.monotonic() + PATIENCE_S
    while "note" not in LocalDatastore.get_image_info(server, "one") and time.monotonic() < end:
        time.sleep(0.1)
    assert LocalDatastore.get_image_info(server, "one")["note"] == "new"
