from pathlib import Path

import numpy as np

from bundle.benchmark.measure.painted import painted_dataset, painted_slices
from bundle.datasets.dataset import Dataset
from scripts.common.files import write_nifti
from scripts.data.volume_io import read_labels

CLASSES = {"liver": 6, "spleen": 1}


def label():
    """The liver on slices 1 to 9, the spleen on 4 and 5."""
    values = np.zeros((9, 9, 11), dtype=np.uint8)
    values[:2, :, 1:10], values[3, 3, 4:6] = 6, 1
    return values


def test_a_class_is_left_whole_on_slices_from_its_first_to_its_last():
    left = painted_slices(label(), CLASSES, 3)
    np.testing.assert_array_equal(np.flatnonzero((left == 6).any(axis=(0, 1))), [1, 5, 9])
    np.testing.assert_array_equal(left[:, :, 1], label()[:, :, 1])
    np.testing.assert_array_equal(np.flatnonzero((left == 1).any(axis=(0, 1))), [4, 5])
    assert not painted_slices(label(), {"kidney": 2}, 3).any()


def test_painted_slices_take_the_place_of_strokes_and_background_stays(tmp_path):
    given, affine = tmp_path / "toy", np.diag([3.0, 4.0, 5.0, 1.0])
    strokes = np.zeros((9, 9, 11), dtype=np.uint8)
    strokes[0, 0, 3], strokes[:, 3, 5] = 6, 7
    for folder, array in (("labels/s", label()), ("scribbles/s_a", strokes)):
        (given / folder).parent.mkdir(parents=True)
        write_nifti(given / f"{folder}.nii.gz", array, affine)
    (given / "images").mkdir()
    dataset = Dataset(given, {"liver": 6}, CLASSES, 7, "s", (), ("s",), ("v",), False)
    painted = painted_dataset(dataset, tmp_path / "painted")
    drawn = read_labels(painted.scribbles("a", "s")).array
    np.testing.assert_array_equal(np.flatnonzero((drawn == 6).any(axis=(0, 1))), [1, 3, 5, 7, 9])
    assert drawn[0, 0, 3] == 6 and drawn[2, 3, 5] == 7 and drawn[0, 3, 5] == 6, "no stroke but the background's"
    assert (painted.labels / "s.nii.gz").samefile(given / "labels" / "s.nii.gz") and painted.variants("s") == ("a",)
    assert painted_dataset(dataset, Path(tmp_path / "painted")) == painted, "again"
