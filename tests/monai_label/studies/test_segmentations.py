"""What segmentations of a DICOMweb server become, by one that holds what a test wants."""

import shutil
from datetime import datetime

import nibabel as nib
import numpy as np
import pydicom
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.dicom.facts import Maker
from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import read_source
from bundle.monai_label.names import SUBMITTED
from bundle.monai_label.studies.dicomweb import DicomwebDatastore
from scripts.common.errors import BundleError
from tests.dicom.conftest import facts_of, save
from tests.fixtures.ct_series import SHAPE, write_ct

SAME_NAME = "two segments have the same name"
CLASSES = {"spleen": 1, "liver": 2}
STUDIES = ["1.2.1", "1.2.2"]


class Shelf:
    """A server's series and segmentations, which lie in a folder."""

    def __init__(self, folder):
        self.folder, self.drawn, self.stored = folder, {}, []
        for study in STUDIES:
            write_ct(folder / study, np.random.default_rng(0).integers(0, 99, SHAPE), "axial", SeriesInstanceUID=study)

    def draw(self, study, *names):
        """A segmentation with two segments of these names."""
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:5], labels[7:9] = 1, 2
        about = (
            labels,
            read_source(self.volume(study)),
            facts_of(CLASSES),
            Maker("OHIF", "3"),
            f"{study} {names}",
            datetime.now(),
        )
        made = segmentation(*about)
        for segment, name in zip(made.SegmentSequence, names, strict=True):
            segment.SegmentLabel = name
        self.drawn[study] = save(made, self.folder / f"{study}.seg.dcm")

    def studies(self):
        return {study: {} for study in STUDIES}

    def volume(self, study):
        return self.folder / study

    def has_grown(self, study):
        return False

    def stamp(self, study):
        return ""

    def segmentations(self):
        return [pydicom.dcmread(file, stop_before_pixels=True) for file in self.drawn.values()]

    def fetch(self, header, file):
        shutil.copy(self.drawn[header.ReferencedSeriesSequence[0].SeriesInstanceUID], file)

    def store(self, file):
        self.stored.append(pydicom.dcmread(file))


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "server")


@pytest.fixture
def datastore(shelf, tmp_path):
    return DicomwebDatastore(tmp_path / "mirror", shelf)


def names(datastore, study):
    return [row["name"] for row in datastore.get_label_info(study, SUBMITTED).get("label_info", [])]


def test_two_segments_of_one_name_are_told_and_left_out_and_other_studies_have_theirs(shelf, datastore, capsys):
    bad, good = STUDIES
    shelf.draw(bad, "liver", "liver")
    shelf.draw(good, "spleen", "liver")
    datastore.fetch_submissions()
    assert (names(datastore, bad), names(datastore, good)) == ([], ["spleen", "liver"])
    said = capsys.readouterr().out
    assert said.startswith(f"{bad}: its segmentation is left out: {SAME_NAME}") and said.count("\n") == 1
    assert said.endswith("found: segment 1: liver, segment 2: liver\n")
    assert f"file: the segmentation {shelf.segmentations()[0].SOPInstanceUID} of the server" in said
    shelf.draw(bad, "spleen", "liver")
    datastore.fetch_submissions()
    assert names(datastore, bad) == ["spleen", "liver"], "once it is mended"
    shelf.draw(bad, "liver", "liver")
    capsys.readouterr()
    datastore.fetch_submissions()
    assert capsys.readouterr().out.endswith("; the one taken before stays\n")
    assert names(datastore, bad) == ["spleen", "liver"]


def test_what_3d_slicer_submits_with_two_segments_of_one_name_is_stored_nowhere(shelf, datastore, tmp_path):
    image = nib.load(datastore.get_image_uri(STUDIES[0]))
    labels = np.zeros(image.shape, np.uint8)
    labels[2:5], labels[7:9] = 1, 2
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "label.nii.gz")
    rows = [{"name": "liver", "idx": 1}, {"name": "liver", "idx": 2}]
    with pytest.raises(BundleError, match=SAME_NAME) as caught:
        datastore.save_label(STUDIES[0], str(tmp_path / "label.nii.gz"), SUBMITTED, {"label_info": rows})
    assert (caught.value.case, caught.value.found) == (STUDIES[0], "segment 1: liver, segment 2: liver")
    assert shelf.stored == [] and names(datastore, STUDIES[0]) == []
