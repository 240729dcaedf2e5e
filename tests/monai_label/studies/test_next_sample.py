"""Which study Next Sample offers."""

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

import nibabel as nib
import numpy as np

from bundle.monai_label.names import DRAWN_ON, OURS, SUBMITTED, TAG
from bundle.monai_label.strategy import NAME, LeastTrusted
from bundle.monai_label.studies.reloading import ReloadingDatastore


def write(file, value):
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), value, np.int16), np.diag([3.0, 3.0, 3.0, 1.0])), file)
    return str(file)


@pytest.fixture
def datastore(tmp_path):
    """Three studies with labels of a round, trusted 0.5, 0.7 and 0.9."""
    (tmp_path / "studies").mkdir()
    for name in ("a", "b", "c"):
        write(tmp_path / "studies" / f"{name}.nii.gz", ord(name))
    datastore = ReloadingDatastore(tmp_path / "studies")
    label = write(tmp_path / "label.nii.gz", 1)
    for name, dice in (("a", 0.7), ("b", 0.5), ("c", 0.9)):
        info = {OURS: {"liver": 0.95, "spleen": dice}, DRAWN_ON: datastore.image_mark(name), "doubted": {}}
        datastore.save_label(name, label, TAG, info)
    return datastore


def offered(datastore):
    return LeastTrusted()({}, datastore)


def test_the_study_with_the_least_trusted_class_comes_first(datastore):
    assert offered(datastore) == {
        "id": "b",
        "weight": 0.5,
        "predicted_dice": {"liver": 0.95, "spleen": 0.5},
        "doubted": {},
    }


def test_a_submitted_study_is_not_offered_until_its_image_is_another(datastore, tmp_path):
    label = str(tmp_path / "label.nii.gz")
    for name in ("b", "a", "c"):
        datastore.save_label(name, label, SUBMITTED, {})
    assert offered(datastore) is None
    write(tmp_path / "studies" / "a.nii.gz", 7)
    assert offered(datastore) == {"id": "a", "weight": 1.0}, "nothing is known of this image"


def test_who_asks_again_gets_the_others_first(datastore):
    datastore.update_image_info("b", {"strategy": {NAME: {"ts": 2**33}}})
    assert offered(datastore)["id"] == "a"


def test_a_study_whose_image_was_replaced_comes_after_those_with_labels(datastore, tmp_path):
    write(tmp_path / "studies" / "b.nii.gz", 7)
    assert offered(datastore)["id"] == "a"


def test_without_studies_nothing_is_offered(tmp_path):
    (tmp_path / "none").mkdir()
    assert offered(ReloadingDatastore(tmp_path / "none")) is None
