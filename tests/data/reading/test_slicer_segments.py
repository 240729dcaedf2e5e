"""Segmentations of 3D Slicer: layers, crops, names."""

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.common.errors import BundleError
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.reading.slicer_segments import Segment, merge_layers, of_classes, segments_of
from scripts.data.volume_io import Volume, read_labels, read_strokes

SHAPE = (12, 10, 8)
SPACING_MM = (4.0, 3.0, 5.0)
ORIGIN_MM = (10.0, -20.0, 30.0)
GRID = (SHAPE, np.eye(4))


def image_of(array, offset=(0, 0, 0), direction=(0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)):
    """(X, Y, Z) or (C, X, Y, Z); `offset` is the voxel of the grid at which the array begins."""
    if array.ndim == 4:
        image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3).copy(), isVector=True)
    else:
        image = sitk.GetImageFromArray(array.transpose().copy())
    image.SetSpacing(SPACING_MM)
    image.SetDirection(direction)
    start = np.array(direction).reshape(3, 3) @ (np.array(offset) * SPACING_MM)
    image.SetOrigin((start + ORIGIN_MM).tolist())
    return image


def write(path, layers, segments, offset=(0, 0, 0)):
    image = image_of(layers[0] if len(layers) == 1 else layers, offset)
    for number, (name, layer, value) in enumerate(segments):
        for key, content in (("ID", f"S_{number}"), ("Name", name), ("Layer", layer), ("LabelValue", value)):
            image.SetMetaData(f"Segment{number}_{key}", str(content))
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", " ".join(map(str, offset)))
    sitk.WriteImage(image, str(path))
    return path


def two_layers():
    """(2, 4, 3, 2): the liver (value 1 of layer 0) and the background overlap the kidney (value 1 of layer 1)."""
    layers = np.zeros((2, 4, 3, 2), np.uint8)
    layers[0, :3], layers[0, 3] = 1, 2
    layers[1, 2, 0] = 1
    return layers


SEGMENTS = [("liver", 0, 1), ("outside", 0, 2), ("kidney, left", 1, 1)]


def merged():
    expected = np.zeros((4, 3, 2), int)
    expected[:3], expected[3], expected[2, 0] = 1, 2, 3
    return expected


def test_layers_by_hand():
    labels, names, overlap = merge_layers(two_layers(), [Segment(*segment) for segment in SEGMENTS])
    np.testing.assert_array_equal(labels, merged())
    assert names == {"liver": 1, "outside": 2, "kidney, left": 3} and overlap == 2


def test_values_that_are_distinct_stay():
    layer = np.array([[[[0, 7, 3, 9]]]])
    labels, names, overlap = merge_layers(layer, [Segment("a", 0, 7), Segment("a", 0, 3)])
    np.testing.assert_array_equal(labels, [[[0, 7, 3, 0]]])
    assert names == {"a": 7, "a (2)": 3} and overlap == 0


def test_old_headers_have_a_layer_for_each_segment():
    header = {"Segment0_ID": "S1", "Segment1_ID": "S2", "Segment1_Name": "liver"}
    assert segments_of(header, 2) == [Segment("S1", 0, 1), Segment("liver", 1, 1)]
    assert segments_of({"Other": "1"}, 1) == []


def test_a_cropped_file_with_layers(tmp_path):
    label = read_labels(write(tmp_path / "a.seg.nrrd", two_layers(), SEGMENTS, offset=(5, 4, 3)))
    np.testing.assert_array_equal(label.array, merged())
    assert label.names == {"liver": 1, "outside": 2, "kidney, left": 3}
    assert label.remarks == ("2 voxels lie in several segments; the later segment counts.",)


def test_classes_go_by_the_segments_names(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", two_layers(), SEGMENTS)
    label = read_labels(path, {"Liver": 6, "kidney,_left": 2})
    np.testing.assert_array_equal(label.array, np.choose(merged(), [0, 6, 0, 2]))
    assert label.names == {"liver": 6, "kidney, left": 2}
    swapped = Volume(np.array([1, 2]), np.eye(4), names={"a": 1, "b": 2})
    np.testing.assert_array_equal(of_classes(swapped, {"a": 2, "b": 1}, path).array, [2, 1])


def test_numbers_of_segments_that_are_called_like_no_class_mean_nothing(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", two_layers(), SEGMENTS)
    with pytest.raises(BundleError, match="no segment is called like a class") as caught:
        read_labels(path, {"spleen": 1, "pancreas": 2})
    assert caught.value.file == str(path) and caught.value.found == "liver, outside, kidney, left"
    assert str(caught.value.expected).startswith("segments of these names: spleen, pancreas; rename them")


def test_two_segments_that_are_called_like_one_class_are_refused(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", two_layers(), [("liver", 0, 1), ("lump", 0, 2), ("Liver", 1, 1)])
    with pytest.raises(BundleError, match="two segments have the same name") as caught:
        read_labels(path, {"liver": 6, "lump": 2})
    assert caught.value.file == str(path) and caught.value.found == "segment 1: liver, segment 3: Liver"
    with pytest.raises(BundleError, match="two segments have the same name"):
        read_strokes(path, GRID, {}, None)
    with pytest.raises(BundleError, match="two segments have the same name"):
        read_strokes(path, GRID, {"liver": 1}, None)


def test_names_that_no_class_has_may_be_given_twice(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", two_layers(), [("lump", 0, 1), ("liver", 0, 2), ("lump", 1, 1)])
    label = read_labels(path, {"liver": 6})
    assert label.names == {"liver": 6}
    assert "called like no class are not taken: lump, lump (2)" in label.remarks[-1]
    assert read_strokes(path, GRID, {"liver": 2}, None).names == {"lump": 1, "liver": 2, "lump (2)": 3}


def test_segments_that_are_not_taken_are_named_but_for_the_background(tmp_path):
    overlap = "2 voxels lie in several segments; the later segment counts."
    path = write(tmp_path / "a.seg.nrrd", two_layers(), SEGMENTS)
    left_out = "Segments that are called like no class are not taken: kidney, left."
    assert read_labels(path, {"liver": 6}).remarks == (overlap, left_out)
    assert read_labels(path, {"liver": 6, "kidney, left": 2}).remarks == (overlap,)


def test_a_layer_that_is_not_there(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", two_layers()[:1], SEGMENTS)
    with pytest.raises(BundleError, match=r"lacks a layer[\s\S]*kidney, left"):
        read_labels(path)


def prepared(tmp_path, segments=SEGMENTS, **options):
    """The cohort of one volume, with the strokes of a cropped segmentation."""
    (tmp_path / "images").mkdir()
    hu = np.random.default_rng(0).integers(-50, 150, SHAPE).astype(np.int16)
    sitk.WriteImage(image_of(hu), str(tmp_path / "images" / "a.nii.gz"))
    strokes = write(tmp_path / "strokes.seg.nrrd", two_layers(), segments, offset=(5, 4, 3))
    support = tmp_path / "images" / "a.nii.gz"
    return prepare_cohort(
        tmp_path / "images", tmp_path / "out", SPACING_MM, support, strokes, minimum_cases=1, **options
    )


def test_strokes_as_a_segmentation_name_the_classes(tmp_path):
    cohort = prepared(tmp_path)
    assert cohort.classes == {"liver": 1, "kidney, left": 3} and cohort.background == 2
    written = read_labels(cohort.scribbles)
    expected = np.zeros(SHAPE, int)
    expected[5:9, 4:7, 3:5] = merged()
    np.testing.assert_array_equal(written.array, expected)
    np.testing.assert_allclose(written.affine, cohort.cases["a"].affine, atol=1e-5)
    assert "Scribbles: 2 voxels lie in several segments; the later segment counts." in cohort.assumptions


def test_segments_called_background_and_outside_are_both_no_class(tmp_path):
    cohort = prepared(tmp_path, [("liver", 0, 1), ("outside", 0, 2), ("Background", 1, 1)])
    assert cohort.classes == {"liver": 1} and cohort.background == 2
    assert "Strokes of classes that were not named count as background: 3." in cohort.assumptions


def test_classes_of_other_names_than_the_segments(tmp_path):
    assert prepared(tmp_path, classes={"my liver": 1}, background=2).classes == {"my liver": 1}


def test_classes_that_mistake_one_segment_for_another(tmp_path):
    with pytest.raises(BundleError, match=r"the segment Liver has another value(?s:.*)expected: Liver:1"):
        prepared(tmp_path, classes={"Liver": 3}, background=2)
