import numpy as np
import pytest
import torch

from scripts.common.affines import voxel_ml
from scripts.common.files import write_nifti
from scripts.data.volume_io import Volume
from scripts.segmentation.label_map_record import LabelMapRecord
from scripts.segmentation.label_map_writer import SaveLabelMaps
from scripts.segmentation.plausibility import body_of, label_map_warnings, label_volumes_ml, outside_shares


def test_an_empty_label_map_and_one_that_fills_the_body():
    assert label_map_warnings({1: 1500.0, 3: 150.0}, 20000.0) == []
    assert label_map_warnings({1: 15000.0}, 20000.0) == []
    (sentence,) = label_map_warnings({1: 15001.0, 3: 20.0}, 20000.0)
    assert sentence.startswith("label 1 fills 75% of the body") and sentence.endswith("trained for long enough")
    (named,) = label_map_warnings({3: 20001.0}, 20000.0, {3: "liver"})
    assert named.startswith("liver is larger than the body;")
    assert label_map_warnings({}, 20000.0)[0].startswith("the label map is empty")


def test_volumes_are_in_ml():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0], labels[1, 0] = 3, 7
    assert label_volumes_ml(labels, 0.5) == {3: 8.0, 7: 2.0}


def test_the_body_is_measured_on_a_coarser_grid():
    image = torch.zeros(1, 80, 60, 40)  # air
    image[0, 20:60, 20:40] = 0.5
    body = body_of(image, np.diag([2.0, 2.0, 4.0, 1.0]))
    assert body.array.sum() * voxel_ml(body.affine) == pytest.approx(512, rel=0.05)  # the corners go
    assert body_of(torch.zeros(1, 8, 8, 8), np.diag([4.0, 4.0, 5.0, 1.0])).array.all()


def test_a_class_that_lies_in_the_air_beside_the_body_is_told():
    image = torch.zeros(1, 80, 60, 40)
    image[0, 20:60, 20:40] = 0.5
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    labels = np.zeros((80, 60, 40), np.uint8)
    labels[25:55, 25:35, 5:35], labels[25:55, 45:55, 5:35] = 1, 6
    flipped = affine @ np.array([[-1.0, 0, 0, 79], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for array, grid in ((labels, affine), (labels[::-1], flipped)):
        outside = outside_shares((1, 6), array, grid, body_of(image, affine))
        assert outside == {1: 0.0, 6: 1.0}
    (sentence,) = label_map_warnings({1: 10.0, 6: 10.0}, 500.0, {6: "liver"}, outside)
    assert sentence.startswith("100% of liver lies outside the body;")


def test_a_label_map_on_a_sheared_grid_is_recorded_with_its_slanted_voxels_volume(tmp_path):
    """Eight voxels with edges of 5, 8 and 13 mm, the last 5 mm high."""
    affine = np.array([[5.0, 0, 0, 0], [0, 8, 12, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    labels = np.zeros((1, 4, 4, 4), np.uint8)
    labels[0, :2, :2, :2] = 3
    write_nifti(tmp_path / "image.nii.gz", labels[0], affine)
    writer = SaveLabelMaps(tmp_path / "out", {"liver": 1}, {"a": "made of"})
    writer.save("a", labels, tmp_path / "image.nii.gz", Volume(np.ones((4, 4, 4), bool), affine))
    assert LabelMapRecord.read(writer.labels.record("a")).volume_ml == pytest.approx({3: 8 * 0.2})
