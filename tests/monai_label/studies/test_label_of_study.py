"""Which label a study is answered with."""

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

import nibabel as nib
import numpy as np

from bundle.monai_label.names import DRAWN_ON, OURS, OUTSIDE, SUBMITTED, TAG
from bundle.monai_label.shown_label import label_of_study
from bundle.monai_label.studies import reloading
from bundle.monai_label.studies.reloading import ReloadingDatastore


def write(file, value):
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), value, np.int16), np.diag([3.0, 3.0, 3.0, 1.0])), file)
    return str(file)


def rows(*names):
    return {"label_info": [{"name": name, "idx": value} for value, name in enumerate(names, start=1)]}


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Saves a label of study "a" at a second; the datastore is its attribute."""
    (tmp_path / "studies").mkdir()
    write(tmp_path / "studies" / "a.nii.gz", 1)
    datastore, label = ReloadingDatastore(tmp_path / "studies"), write(tmp_path / "label.nii.gz", 1)

    def save_at(second, tag, info):
        monkeypatch.setattr(reloading.time, "time", lambda: float(second))
        datastore.save_label("a", label, tag, {**info, DRAWN_ON: datastore.image_mark("a")})

    save_at.datastore = datastore
    return save_at


def told(save):
    return label_of_study(save.datastore, "a").get("stored_info", {}).get("label_info")


def test_there_is_none_before_a_training(save):
    save(2**32, SUBMITTED, rows("liver"))
    assert label_of_study(save.datastore, "a") == {}


def test_what_the_user_submitted_since_the_training_comes_before_what_it_left(save):
    save(2**32, TAG, {OURS: {"liver": 0.5}, **rows("liver", "spleen")})
    assert told(save) == rows("liver", "spleen")["label_info"]
    save(2**32 + 1, SUBMITTED, rows("liver"))
    assert told(save) == rows("liver")["label_info"]
    save(2**32 + 2, TAG, {OURS: {"liver": 1.0}, **rows("liver", "spleen")})
    assert told(save) == rows("liver", "spleen")["label_info"], "she got it back"


def test_strokes_are_no_answer(save):
    save(2**32, TAG, {OURS: {"liver": 0.5}, **rows("liver")})
    save(2**32 + 1, SUBMITTED, rows("liver", OUTSIDE))
    assert told(save) == rows("liver")["label_info"]
