"""DICOM segmentations and structure sets as label maps: names, values, lines, and one clear error for the rest."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from scripts.common.errors import BundleError
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.reading.folder import find_label_maps
from scripts.data.volume_io import check_labels, holds_labels, read_labels, read_strokes, remarks_on_series
from tests.dicom.conftest import CLASSES, noisy_hu, noisy_labels, write_both
from tests.fixtures.ct_series import SHAPE, write_ct

KINDS = ["segmentation", "structure_set"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axial")
    return write_both(write_ct(folder / "images" / "case_0", noisy_hu(), "axial"), noisy_labels(), folder)


@pytest.fixture
def changed(made, tmp_path):
    """changed(kind, change) -> a copy of the file, its dataset changed."""

    def change_file(kind, change):
        dataset = pydicom.dcmread(getattr(made, kind))
        change(dataset)
        dataset.save_as(tmp_path / "changed.dcm")
        return tmp_path / "changed.dcm"

    return change_file


@pytest.mark.parametrize("kind", KINDS)
def test_segments_called_like_a_class_get_its_value_and_others_are_left_out(made, kind):
    file = getattr(made, kind)
    assert holds_labels(file) and not holds_labels(made.series.frames[0].image.path)
    label = read_labels(file, {"Left Kidney": 1, "spleen": 9}, made.grid)
    np.testing.assert_array_equal(label.array, np.array([0, 9, 0, 1, 0, 0, 0, 0])[made.labels])
    assert label.names == {"left_kidney": 1, "spleen": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_two_segments_that_are_called_like_one_class_are_refused(changed, made, kind):
    def rename(dataset):
        if kind == "segmentation":
            dataset.SegmentSequence[2].SegmentLabel = "Spleen"
        else:
            dataset.StructureSetROISequence[2].ROIName = "Spleen"

    file = changed(kind, rename)
    for read in (
        lambda: read_labels(file, {"spleen": 1, "left_kidney": 3}, made.grid),
        lambda: read_strokes(file, made.grid, {"spleen": 1}, None),
        lambda: read_strokes(file, made.grid, {}, None),
        lambda: read_labels(file, None, made.grid),
    ):
        with pytest.raises(BundleError, match="two segments have the same name") as caught:
            read()
        assert caught.value.found == "segment 1: spleen, segment 3: Spleen"
    assert read_labels(file, {"left_kidney": 3}, made.grid).names == {"left_kidney": 3}


def test_without_classes_segments_are_numbered_in_their_order(made):
    label = read_labels(made.segmentation, None, made.grid)
    assert label.names == {"spleen": 1, "left_kidney": 2, "lump": 3}
    np.testing.assert_array_equal(label.array, np.array([0, 1, 0, 2, 0, 0, 0, 3])[made.labels])


def test_strokes_keep_what_is_no_class_and_the_background_has_the_largest_value(changed, made):
    def rename(dataset):
        dataset.SegmentSequence[2].SegmentLabel = "outside"

    file = changed("segmentation", rename)
    strokes = read_strokes(file, made.grid, {"left_kidney": 1}, None)
    assert strokes.names == {"spleen": 2, "left_kidney": 1, "outside": 255}
    assert read_strokes(file, made.grid, {}, 14).names == {"spleen": 1, "left_kidney": 2, "outside": 14}


def test_overlapping_segments(changed, made):
    """Two segments fill one slice; the later one counts."""

    def overlap(dataset):
        frames = dataset.PerFrameFunctionalGroupsSequence
        in_slice = np.array([frame.PlanePositionSequence[0].ImagePositionPatient[2] == 110 for frame in frames])
        numbers = np.array([f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames])
        pixels = dataset.pixel_array.copy()
        pixels[in_slice & (numbers < 3)] = 1
        dataset.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()

    label = read_labels(changed("segmentation", overlap), CLASSES, made.grid)
    np.testing.assert_array_equal(label.array[:, :, 2], np.where(made.labels[:, :, 2] == 7, 7, 3))
    lumps = np.count_nonzero(made.labels[:, :, 2] == 7)
    voxels = 14 * 12 + lumps
    assert label.remarks == (f"{voxels} voxels lie in several segments; the later segment counts.",)


@pytest.mark.parametrize(("kind", "limit"), [("FRACTIONAL", 128), ("LABELMAP", 3)])
def test_other_kinds_of_segmentations(changed, made, kind, limit):
    def convert(dataset):
        frames = dataset.PerFrameFunctionalGroupsSequence
        numbers = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames]
        pixels = dataset.pixel_array * (200 if kind == "FRACTIONAL" else np.array(numbers)[:, None, None])
        pixels[pixels == 0] = 100 if kind == "FRACTIONAL" else 0
        dataset.SegmentationType, dataset.MaximumFractionalValue = kind, 255
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = pixels.astype(np.uint8).tobytes()

    np.testing.assert_array_equal(read_labels(changed("segmentation", convert), CLASSES, made.grid).array, made.labels)


def test_open_contours_and_points_are_drawn(changed, made):
    """A line along the columns 1 to 3 of row 2, and a point, in the slice 4."""

    def draw(dataset):
        start_mm = np.array([-30 + 4, -40 + 2 * 3, 120.0])
        for item in dataset.ROIContourSequence:
            item.ContourSequence = []
        for n, (kind, points) in enumerate({"OPEN_PLANAR": [0, 8], "POINT": [28]}.items()):
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.ContourData = [value for x in points for value in (start_mm + np.array([x, 0, 0])).tolist()]
            dataset.ROIContourSequence[n].ContourSequence = [contour]

    label = read_labels(changed("structure_set", draw), CLASSES, made.grid)
    assert np.argwhere(label.array == 1).tolist() == [[1, 2, 4], [2, 2, 4], [3, 2, 4]]
    assert np.argwhere(label.array == 3).tolist() == [[8, 2, 4]]


def moved(dataset, by_mm):
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = (np.array(place.ImagePositionPatient, float) + by_mm).tolist()


def lifted(dataset, by_mm):
    for item in dataset.ROIContourSequence:
        pushed(item, [0, 0, by_mm])


def pushed(region, by_mm):
    for contour in region.ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) + np.array(by_mm)
        contour.ContourData = points.ravel().tolist()


def stood_up(dataset):
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) @ [[1, 0, 0], [0, 1, 0.5], [0, 0, 1]]
        contour.ContourData = points.ravel().tolist()


def resampled(dataset):
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [2, 2]


def without_places(dataset):
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence


def emptied(dataset):
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []


REFUSED = {
    "frames of another orientation or pixel spacing": ("segmentation", resampled),
    "frames 0.5 voxels beside": ("segmentation", lambda d: moved(d, [2, 0, 0])),
    "something is drawn outside the volume": ("segmentation", lambda d: moved(d, [0, 0, -5])),
    "no PlanePositionSequence": ("segmentation", without_places),
    "contours between the volume's slices": ("structure_set", lambda d: lifted(d, 2.0)),
    "contours above or below the volume": ("structure_set", lambda d: lifted(d, 60.0)),
    "contours beside the volume": ("structure_set", lambda d: [pushed(r, [0, 36, 0]) for r in d.ROIContourSequence]),
    "contours that lie in none of the volume's slices": ("structure_set", stood_up),
    "the segmentation is empty": ("structure_set", emptied),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_one_clear_error(changed, made, message):
    kind, change = REFUSED[message]
    with pytest.raises(BundleError, match=message):
        read_labels(changed(kind, change), CLASSES, made.grid)


def test_a_slice_that_is_a_tenth_of_a_millimetre_off_is_still_its_slice(changed, made):
    file = changed("segmentation", lambda d: moved(d, [0.1, 0.1, 0.1]))
    np.testing.assert_array_equal(read_labels(file, CLASSES, made.grid).array, made.labels)


def test_contours_that_reach_beyond_the_volume_are_cut_and_told(changed, made):
    """The second region is two columns of 4 mm to the right."""
    file = changed("structure_set", lambda d: pushed(d.ROIContourSequence[1], [8, 0, 0]))
    label = read_labels(file, {"left_kidney": 3}, made.grid)
    assert label.remarks[-2] == "Contours that reach beyond the volume were cut off there: left_kidney."
    np.testing.assert_array_equal(
        label.array[2:, :, 0] == 3, (made.labels[:-2, :, 0] == 3) & (made.labels[2:, :, 0] != 7)
    )
    assert read_labels(made.structure_set, CLASSES, made.grid).remarks == ()


def test_files_that_are_no_labels(made, tmp_path):
    with pytest.raises(BundleError, match="no segment is called like a class") as caught:
        read_labels(made.segmentation, {"liver": 1}, made.grid)
    assert caught.value.found == "spleen, left_kidney, lump"
    with pytest.raises(BundleError, match="the label map's volume is not known"):
        read_labels(made.segmentation, CLASSES)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(made.segmentation.read_bytes()[:3000])
    assert holds_labels(cut)
    with pytest.raises(BundleError, match="the DICOM segmentation cannot be read"):
        read_labels(cut, CLASSES, made.grid)
    nothing = tmp_path / "nothing.dcm"
    nothing.write_bytes(bytes(128) + b"DICM" + made.segmentation.read_bytes()[132:300])
    with pytest.raises(BundleError):
        check_labels(nothing)
    check_labels(made.structure_set)


def test_label_maps_of_a_folder_are_called_as_their_files(made, tmp_path):
    shutil.copy(made.segmentation, tmp_path / "case_1.dcm")
    shutil.copy(made.structure_set, tmp_path / "case.2.DCM")
    shutil.copy(made.structure_set, tmp_path / "case_3")
    shutil.copy(made.series.frames[0].image.path, tmp_path / "slice.dcm")
    assert set(find_label_maps(tmp_path)) == {"case_1", "case.2", "case_3"}
    assert pydicom.dcmread(tmp_path / "case_1.dcm").SOPClassUID == SegmentationStorage


@pytest.mark.parametrize("kind", KINDS)
def test_strokes_of_a_cohort(made, changed, tmp_path, kind):
    """Class names by the segments, strokes as NIfTI on the support's grid; among the images they are known."""

    def rename(dataset):
        if kind == "segmentation":
            dataset.SegmentSequence[2].SegmentLabel = "background"
        else:
            dataset.StructureSetROISequence[2].ROIName = "background"

    images = tmp_path / "images"
    shutil.copytree(made.series.path.parent, images)
    strokes = images / "strokes.dcm"
    shutil.move(changed(kind, rename), strokes)
    about = {"images": images, "output_dir": tmp_path / "out", "spacing_mm": [8, 8, 8], "minimum_cases": 1}
    cohort = prepare_cohort(**about, support=images / "case_0", scribbles=strokes)
    assert (cohort.classes, cohort.background) == ({"spleen": 1, "left_kidney": 2}, 255)
    drawn = read_labels(cohort.scribbles)
    expected = np.array([0, 1, 0, 2, 0, 0, 0, 255])[made.labels]
    np.testing.assert_array_equal(drawn.array, expected)
    np.testing.assert_allclose(drawn.affine, made.volume.affine)
    assert cohort.unused == {str(strokes): "given as strokes or organs of the support"}
    again = prepare_cohort(**about, support=images / "case_0", scribbles=strokes, classes="left_kidney:6")
    assert (again.classes, again.background) == ({"left_kidney": 6}, 255)
    assert read_labels(again.scribbles).array.shape == SHAPE
    assert set(np.unique(read_labels(again.scribbles).array)) == {0, 1, 6, 255}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_drawn_on_another_series_is_told_or_refused(made, tmp_path, kind):
    """The same grid: another patient's, which has a frame of reference of its own, and another phase of the scan."""
    file, frame = getattr(made, kind), made.series.first.FrameOfReferenceUID
    other = write_ct(tmp_path / "other" / "case_1", noisy_hu(2), "axial", PatientID="P2")
    phase = write_ct(tmp_path / "phase" / "case_2", noisy_hu(3), "axial", FrameOfReferenceUID=frame)
    about = {"output_dir": tmp_path / "out", "spacing_mm": [8, 8, 8], "minimum_cases": 1, "scribbles": file}
    with pytest.raises(BundleError, match="drawn in another frame of reference"):
        prepare_cohort(other.parent, support=other, **about)
    assert prepare_cohort(phase.parent, support=phase, **about).assumptions[-1] == (
        "Scribbles: The segmentation refers to another series: look whether it fits this one."
    )
    assert remarks_on_series(file, made.series.path) == remarks_on_series(phase / "000.dcm", phase) == ()
