"""A study that is still being received: fetched again when there is more of it, and its labels with it."""

from datetime import datetime

import nibabel as nib
import numpy as np
import pydicom
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.dicom.facts import Maker
from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import read_source
from bundle.monai_label.names import OURS, SUBMITTED, TAG
from bundle.monai_label.studies import pacs as pacs_module
from bundle.monai_label.studies.dicomweb import DicomwebDatastore
from bundle.monai_label.studies.mirror import MirroredDatastore
from bundle.monai_label.studies.pacs import Pacs
from scripts.data.volume_io import read_labels
from tests.dicom.conftest import facts_of
from tests.fixtures.ct_series import write_ct
from tests.monai_label.orthanc import PLUGIN, PROGRAM, Orthanc


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


class Receiving:
    """A source of one study; `fetched` of its `slices` are here."""

    def __init__(self, folder, slices):
        self.folder, self.slices, self.fetched = folder, slices, None

    def studies(self):
        return {"study": {}}

    def volume(self, study):
        if self.fetched is None:
            self.fetched = self.slices
        file = self.folder / "fetched.nii.gz"
        nib.save(nib.Nifti1Image(ramp(8, 8, self.fetched), np.diag([3.0, 3.0, 3.0, 1.0])), file)
        return file

    def has_grown(self, study):
        return self.fetched is not None and self.slices > self.fetched

    def stamp(self, study):
        return ""

    def forget(self, study):
        self.fetched = None


def test_a_study_that_has_grown_is_converted_again_without_labels(tmp_path, capsys):
    source = Receiving(tmp_path, 9)
    datastore = MirroredDatastore(tmp_path / "mirror", source)
    label = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 9), np.uint8), np.eye(4)), label)
    assert nib.load(datastore.get_image_uri("study")).shape == (8, 8, 9)
    datastore.save_label("study", str(label), TAG, {OURS: {}})
    assert set(datastore.get_labels_by_image_id("study")) == {TAG} and capsys.readouterr().out == ""
    source.slices = 12
    assert nib.load(datastore.get_image_uri("study")).shape == (8, 8, 12)
    assert datastore.get_labels_by_image_id("study") == {}
    assert capsys.readouterr().out == "study: there is more of it now, so it is fetched again, without labels\n"


def test_a_label_that_lies_nowhere_else_keeps_its_study(tmp_path, capsys):
    source = Receiving(tmp_path, 9)
    datastore = MirroredDatastore(tmp_path / "mirror", source)
    label = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 9), np.uint8), np.eye(4)), label)
    datastore.get_image_uri("study")
    datastore.save_label("study", str(label), TAG, {OURS: {}})
    datastore.save_label("study", str(label), "reader2", {})
    source.slices = 12
    for _ in range(2):
        assert nib.load(datastore.get_image_uri("study")).shape == (8, 8, 9)
    assert set(datastore.get_labels_by_image_id("study")) == {TAG, "reader2"}
    told = "study: there is more of it now; it is fetched again once its labels are removed (reader2)\n"
    assert capsys.readouterr().out == told, "once"


def test_a_study_stays_as_it_is_while_a_training_reads_it(tmp_path):
    source, at_work = Receiving(tmp_path, 9), True
    datastore = MirroredDatastore(tmp_path / "mirror", source, lambda: at_work)
    datastore.get_image_uri("study")
    source.slices = 12
    assert nib.load(datastore.get_image_uri("study")).shape == (8, 8, 9)
    at_work = False
    assert nib.load(datastore.run_input("study")).shape == (8, 8, 12)


@pytest.mark.skipif(not (PROGRAM and PLUGIN), reason="apt-get install orthanc orthanc-dicomweb")
def test_a_series_of_a_real_server_and_its_strokes_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(pacs_module, "FRESH_S", 0.0)
    (tmp_path / "server").mkdir()
    orthanc = Orthanc(tmp_path / "server")
    try:
        whole = write_ct(tmp_path / "whole", ramp(10, 10, 16), "axial", 3.0)
        files = sorted(whole.iterdir(), key=lambda file: int(pydicom.dcmread(file).InstanceNumber))
        for name, part in (("first", files[:10]), ("rest", files[10:])):
            (tmp_path / name).mkdir()
            for file in part:
                (tmp_path / name / file.name).symlink_to(file)
        orthanc.add(tmp_path / "first")
        datastore = DicomwebDatastore(tmp_path / "mirror", Pacs(orthanc.dicomweb, tmp_path / "mirror" / "series"))
        (study,) = datastore.list_images()
        assert nib.load(datastore.get_image_uri(study)).shape == (10, 10, 10)
        labels = np.zeros((10, 10, 10), np.uint8)
        labels[2:5, 2:5, 2:5] = 1
        strokes = segmentation(
            labels, read_source(tmp_path / "first"), facts_of({"spleen": 1}), Maker("OHIF", "3"), "m", datetime.now()
        )
        strokes.save_as(tmp_path / "strokes.dcm", enforce_file_format=True)
        datastore.pacs.store(tmp_path / "strokes.dcm")
        datastore.fetch_submissions()
        assert (read_labels(datastore.get_label_uri(study, SUBMITTED)).array > 0).sum() == 27
        orthanc.add(tmp_path / "rest")
        datastore.fetch_submissions()
        assert nib.load(datastore.get_image_uri(study)).shape == (10, 10, 16)
        assert len(list(datastore.run_input(study).iterdir())) == 16
        grown = read_labels(datastore.get_label_uri(study, SUBMITTED)).array
        assert grown.shape == (10, 10, 16) and (grown > 0).sum() == 27
    finally:
        orthanc.stop()
