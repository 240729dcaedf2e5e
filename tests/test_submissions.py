"""What is submitted in MONAI Label, and what a round of training makes of it."""

import nibabel as nib
import numpy as np
import pytest

from bundle.monai_label.launch import launch
from bundle.monai_label.names import OUTSIDE
from bundle.monai_label.submissions import read_task
from scripts.errors import BundleError

AFFINE = np.diag([-3.0, 3.0, 4.0, 1.0])


class Studies:
    """MONAI Label's datastore as far as it is used, over a folder."""

    def __init__(self, folder, *cases):
        self.folder, self.cases, self.names = folder, list(cases), {}

    def submit(self, case, array, **names):
        """`array`: a value for every second plane along X."""
        planes = np.repeat(np.asarray(array, np.uint8), 2).reshape(-1, 1, 1)
        nib.save(nib.Nifti1Image(np.tile(planes, (1, 8, 8)), AFFINE), self.folder / f"{case}.nii.gz")
        self.names[case] = [{"name": name, "idx": value} for name, value in names.items()]

    def list_images(self):
        return self.cases

    def get_image_uri(self, image_id):
        return str(self.folder / f"image_{image_id}.nii.gz")

    def get_labels_by_image_id(self, image_id):
        return {"final": image_id} if image_id in self.names else {}

    def get_label_uri(self, label_id, label_tag):
        return str(self.folder / f"{label_id}.nii.gz")

    def get_label_info(self, label_id, label_tag):
        return {"label_info": self.names[label_id], "ts": 1}


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "labels").mkdir()
    studies = Studies(tmp_path / "labels", "a", "b", "c")
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{OUTSIDE: 3})
    return studies


def values(file):
    return np.asarray(nib.load(file).dataobj)[::2, 0, 0].tolist()


def test_strokes_make_the_support(studies, tmp_path):
    task = read_task(studies, tmp_path / "work")
    assert (task.support, task.classes, task.background) == ("a", {"spleen": 1, "liver": 2}, 3)
    assert values(task.scribbles) == [0, 1, 2, 3]
    assert np.array_equal(nib.load(task.scribbles).affine, AFFINE)
    assert task.region is None and task.accepted is None


def test_corrected_labels_get_the_values_of_the_strokes(studies, tmp_path):
    studies.submit("c", [0, 5, 6, 7], liver=5, spleen=6, gallbladder=7)
    task = read_task(studies, tmp_path / "work")
    assert values(task.accepted / "c.nii.gz") == [0, 2, 1, 0]
    studies.names.pop("c")
    assert read_task(studies, tmp_path / "work").accepted is None, "taken back"
    assert not (tmp_path / "work" / "accepted" / "c.nii.gz").exists()


def test_whole_organs_of_the_support_are_its_region_and_its_strokes_stay(studies, tmp_path):
    read_task(studies, tmp_path / "work")
    studies.submit("a", [1, 1, 2, 0], spleen=1, liver=2)
    task = read_task(studies, tmp_path / "work")
    assert values(task.region) == [1, 1, 2, 0] and values(task.scribbles) == [0, 1, 2, 3]
    studies.submit("a", [3, 0, 2, 1], spleen=1, liver=2, **{OUTSIDE: 3})
    task = read_task(studies, tmp_path / "work")
    assert task.region is None and values(task.scribbles) == [3, 0, 2, 1], "new strokes"


def test_slicer_counts_segments_that_it_leaves_out(studies, tmp_path):
    studies.submit("a", [0, 1, 2, 3], spleen=2, liver=3, **{OUTSIDE: 5})
    task = read_task(studies, tmp_path / "work")
    assert task.classes == {"spleen": 1, "liver": 2} and task.background == 3


def test_what_is_not_enough(studies, tmp_path):
    studies.submit("b", [0, 1, 1, 3], spleen=1, **{OUTSIDE: 3})
    with pytest.raises(BundleError, match="strokes on more than one study") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "a, b"
    studies.names.clear()
    with pytest.raises(BundleError, match="no study has strokes"):
        read_task(studies, tmp_path / "work")
    studies.submit("b", [0, 1, 1, 3])
    with pytest.raises(BundleError, match="does not say what its values mean") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.case == "b"


def test_a_server_needs_studies_and_its_own_environment(tmp_path):
    with pytest.raises(BundleError, match="the folder of studies is missing"):
        launch(tmp_path / "nowhere", tmp_path / "app", 8000, {})
    with pytest.raises(BundleError, match="MONAI Label is not installed here") as caught:
        launch(tmp_path, tmp_path / "app", 8000, {})
    assert "make monai-label STUDIES=DIR" in caught.value.expected
    assert not (tmp_path / "app").exists()
