"""Label maps to DICOM and back: equal voxel by voxel for every position of the patient, by our reader and by others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.measure import grid_points_in_poly

from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import read_source
from bundle.dicom.structure_set import structure_set
from scripts.common.affines import to_voxels
from scripts.common.errors import BundleError
from scripts.data.volume_io import read_labels, read_volume
from tests.dicom.conftest import BY, CLASSES, WHEN, facts_of, noisy_hu, noisy_labels, save, write_both
from tests.fixtures.ct_series import GEOMETRIES, PIXEL_MM, SHAPE, write_ct, write_enhanced_ct
from tests.fixtures.real_data import DATA

SERIES = DATA / "dicom_ct" / "CRLM-CT-1004"


@pytest.fixture(params=GEOMETRIES)
def trip(request, written):
    return written(request.param)


@pytest.mark.parametrize("kind", ["segmentation", "structure_set"])
def test_our_reader_gets_every_voxel_back(trip, kind):
    back = read_labels(getattr(trip, kind), CLASSES, trip.grid)
    np.testing.assert_array_equal(back.array, trip.labels)
    np.testing.assert_array_equal(back.affine, trip.volume.affine)
    assert back.names == CLASSES


def test_each_frame_of_a_segmentation_lies_where_its_source_slice_lies(trip):
    """Read by hand: no grid is assumed, so a tilted gantry loses nothing."""
    made = pydicom.dcmread(trip.segmentation)
    slices = {str(d.SOPInstanceUID): (k, d) for k, d in enumerate(trip.series.datasets.values())}
    values = {number: value for number, value in enumerate(CLASSES.values(), start=1)}
    (shared,) = made.SharedFunctionalGroupsSequence
    back = np.zeros(SHAPE, np.uint8)
    for pixels, frame in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        k, source = slices[reference.ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == list(PIXEL_MM)
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        back[:, :, k][pixels.T == 1] = values[number]
    np.testing.assert_array_equal(back, trip.labels)


@pytest.mark.parametrize("geometry", [name for name in GEOMETRIES if name != "tilted"])
def test_dcmqi_and_itk_find_the_same_voxels_in_the_same_place(written, tmp_path, geometry):
    """But for a tilted gantry, whose grid is sheared: an ITK image cannot be."""
    trip = written(geometry)
    found, _ = _read_by_dcmqi(trip.segmentation, tmp_path, trip.volume)
    np.testing.assert_array_equal(found, [trip.labels == value for value in CLASSES.values()])


def _read_by_dcmqi(segmentation, folder, volume):
    """(segments, X, Y, Z) on the volume's grid, from where dcmqi and ITK say that each voxel lies; what is told."""
    pytest.importorskip("dcmqi")
    program = Path(sys.executable).parent / "segimage2itkimage"
    files = ["--inputDICOM", str(segmentation), "--outputDirectory", str(folder), "-t", "nrrd"]
    subprocess.run([str(program), *files], check=True, capture_output=True)
    (about,) = folder.glob("*.json")
    told = [row for (row,) in json.loads(about.read_text(encoding="utf-8"))["segmentAttributes"]]
    found = np.zeros((len(told), *volume.array.shape), bool)
    for segment, row in zip(found, told, strict=True):
        image = sitk.ReadImage(str(folder / f"{row['labelID']}.nrrd"))
        steps_mm = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        found_mm = np.argwhere(_xyz(image) > 0) @ steps_mm.T + image.GetOrigin()
        voxels = to_voxels(found_mm * (-1, -1, 1), volume.affine)
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-4)
        segment[tuple(np.rint(voxels).astype(int).T)] = True
    return found, told


def test_another_filling_of_the_contours_gives_the_same_voxels(trip):
    back = np.zeros(SHAPE, np.uint8)
    for value, ring, k in _rings(trip):
        back[:, :, k][grid_points_in_poly(SHAPE[:2], ring)] = value
    np.testing.assert_array_equal(back, trip.labels)


def test_contours_are_less_than_half_a_voxel_from_the_edge_of_the_mask(trip):
    """Each point lies half way between the centres of a voxel inside and of one outside, so on the face between."""
    for value, ring, k in _rings(trip):
        np.testing.assert_allclose(ring * 2, np.rint(ring * 2), atol=1e-4)
        padded = np.pad(trip.labels[:, :, k] == value, 1)
        low, high = (np.floor(np.round(ring * 2) / 2).astype(int) + 1, np.ceil(np.round(ring * 2) / 2).astype(int) + 1)
        assert (padded[tuple(low.T)] != padded[tuple(high.T)]).all()


def _rings(trip):
    """Value, (N, 2) voxel coordinates and slice of each contour, in the order of the classes."""
    made = pydicom.dcmread(trip.structure_set)
    slices = [d.SOPInstanceUID for d in trip.series.datasets.values()]
    for item, value in zip(made.ROIContourSequence, CLASSES.values(), strict=True):
        for contour in item.ContourSequence:
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            points_mm = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points_mm) == contour.NumberOfContourPoints
            voxels = to_voxels(points_mm * (-1, -1, 1), trip.volume.affine)
            k = slices.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
            np.testing.assert_allclose(voxels[:, 2], k, atol=1e-4)
            yield value, voxels[:, :2], k


def _xyz(image):
    return sitk.GetArrayFromImage(image).transpose()


@pytest.mark.parametrize("order", [list(range(9)), [4, 2, 0, 8, 6, 1, 3, 5, 7]])
def test_an_enhanced_ct_is_referred_to_frame_by_frame(tmp_path, order):
    file = write_enhanced_ct(tmp_path / "ct" / "enhanced.dcm", noisy_hu(), order)
    trip = write_both(file.parent, noisy_labels(), tmp_path)
    np.testing.assert_array_equal(trip.volume.array, noisy_hu())
    np.testing.assert_allclose(trip.volume.spacing_mm, (4, 3, 5))
    for made in (trip.segmentation, trip.structure_set):
        np.testing.assert_array_equal(read_labels(made, CLASSES, trip.grid).array, trip.labels)
    for frame in pydicom.dcmread(trip.segmentation).PerFrameFunctionalGroupsSequence:
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        z = frame.PlanePositionSequence[0].ImagePositionPatient[2]
        assert z == 100 + 5 * order[reference.ReferencedFrameNumber - 1]
    contour = pydicom.dcmread(trip.structure_set).ROIContourSequence[0].ContourSequence[0]
    assert contour.ContourData[2] == 100 + 5 * order[contour.ContourImageSequence[0].ReferencedFrameNumber - 1]


def test_a_flipped_and_permuted_label_map_comes_onto_the_series(written):
    """As NIfTI that another program made of the series."""
    trip = written("oblique")
    flip = np.array([[0.0, 0, 1, 0], [-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 0, 1]])  # its voxels -> ours
    affine = trip.volume.affine @ np.linalg.inv(flip)
    turned = np.flip(trip.labels, 0).transpose(2, 0, 1)
    with pytest.raises(BundleError, match="does not lie on the series' voxels"):
        trip.series.labels(turned, trip.volume.affine, Path("label"))
    np.testing.assert_array_equal(trip.series.labels(turned, affine, Path("label")), trip.labels)


def test_the_same_content_gets_the_same_identifiers(written):
    trip = written("axial")
    about = trip.labels, trip.series, facts_of(CLASSES), BY
    for make in (segmentation, structure_set):
        first, again, other = make(*about, "a", WHEN), make(*about, "a", WHEN), make(*about, "b", WHEN)
        assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
        assert first.SeriesInstanceUID == again.SeriesInstanceUID != other.SeriesInstanceUID


def test_absent_classes_are_left_out_and_an_empty_label_map_is_refused(written):
    trip = written("axial")
    only = np.where(trip.labels == 7, 7, 0).astype(np.uint8)
    made = segmentation(only, trip.series, facts_of(CLASSES), BY, "mark", WHEN)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in made.SegmentSequence] == [(1, "lump")]
    for make in (segmentation, structure_set):
        with pytest.raises(BundleError, match="empty, so there is nothing to write"):
            make(np.zeros_like(only), trip.series, facts_of(CLASSES), BY, "mark", WHEN)


@pytest.fixture(scope="module")
def real():
    """A real series, its volume, and a label map: the body with all the air in it as holes, and the bones."""
    if not SERIES.is_dir():
        pytest.skip("no real series here")
    series, volume = read_source(SERIES), read_volume(SERIES)
    smooth = ndimage.uniform_filter(volume.array, (7, 7, 1))
    labels = (smooth > -300).astype(np.uint8)
    labels[smooth > 200] = 3
    return series, volume, labels


def test_a_real_series(real, tmp_path):
    series, volume, labels = real
    about = labels, series, facts_of(CLASSES), BY, "mark", WHEN
    grid = volume.array.shape, volume.affine
    for name, make in (("seg", segmentation), ("rtstruct", structure_set)):
        made = make(*about)
        assert (made.PatientID, made.StudyInstanceUID) == (series.first.PatientID, series.first.StudyInstanceUID)
        assert made.FrameOfReferenceUID == series.first.FrameOfReferenceUID
        back = read_labels(save(made, tmp_path / f"{name}.dcm"), CLASSES, grid)
        np.testing.assert_array_equal(back.array, labels)


def test_dcmqi_finds_place_names_and_codes_of_a_real_series(real, tmp_path):
    series, volume, labels = real
    made = segmentation(labels, series, facts_of(CLASSES), BY, "mark", WHEN)
    found, told = _read_by_dcmqi(save(made, tmp_path / "seg.dcm"), tmp_path, volume)
    np.testing.assert_array_equal(found, [labels == 1, labels == 3])
    codes = [row["SegmentedPropertyTypeCodeSequence"]["CodeValue"] for row in told]
    assert [(row["SegmentLabel"], code) for row, code in zip(told, codes, strict=True)] == [
        ("spleen", "78961009"),
        ("left_kidney", "64033007"),
    ]
    assert told[1]["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"] == "Left"


def test_a_series_of_volumes_in_several_files_is_refused(tmp_path):
    write_ct(tmp_path / "ct", noisy_hu(), "axial", FrameOfReferenceUID=None)
    with pytest.raises(BundleError, match="no FrameOfReferenceUID"):
        read_source(tmp_path / "ct")
