"""Where things lie in the pictures, to the millimetre."""

from __future__ import annotations

import base64
import io
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.report.pictures import Contours, Points, Strokes, three_planes
from bundle.report.volumes import RasVolume, open_image, open_labels, view_around
from scripts.common.errors import BundleError
from tests.report.runs import SPACING_MM, label_map


def pictures_of(markup: str) -> list[np.ndarray]:
    """Grey values (rows, columns) of the axial, coronal and sagittal JPEG."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR"])
def test_slices_are_in_radiological_convention(tmp_path, make_affine, write_volume, codes):
    """A bright block at the patient's right, anterior, superior corner lies at the top left of every plane."""
    ras = np.full((16, 16, 16), -1000, np.int16)
    ras[8:, 8:, 8:] = 500
    orientation = nib.orientations.axcodes2ornt(tuple(codes))
    stored = nib.apply_orientation(ras, nib.orientations.ornt_transform(nib.io_orientation(np.eye(4)), orientation))
    path = write_volume(tmp_path, stored, make_affine(codes, (2.0, 2.0, 2.0)))
    volume = open_image(path)
    np.testing.assert_array_equal(volume.array, ras)
    view = view_around((0, 0, 0), (15, 15, 15), (12, 12, 12), volume, smallest_mm=0)
    axial, coronal, sagittal = pictures_of(three_planes(volume, view, pixels=64))
    for picture in (axial, coronal):
        assert picture[:8, :8].min() > 200 and picture[8:].max() < 60 and picture[:, 8:].max() < 60
    assert sagittal[:8, :8].min() > 200 and sagittal[8:].max() < 60  # anterior on the left


def test_scaled_images_are_shown_in_hounsfield_units(tmp_path):
    stored = nib.Nifti1Image(np.full((8, 8, 8), 3, np.uint8), np.eye(4))
    stored.header.set_slope_inter(10, -50)
    nib.save(stored, tmp_path / "scaled.nii")
    volume = open_image(tmp_path / "scaled.nii")
    assert (volume.slope, volume.intercept) == (10, -50)
    assert np.unique(volume.plane(2, 0)).tolist() == [-20]
    with pytest.raises(BundleError, match="not 3-D"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4)), tmp_path / "flat.nii")
        open_image(tmp_path / "flat.nii")


def test_label_maps_may_be_stored_as_floats(tmp_path, make_affine, write_volume):
    path = write_volume(tmp_path, label_map().astype(np.float32), make_affine("RAS", SPACING_MM))
    labels = open_labels(path)
    assert labels.array.dtype.kind == "i"
    np.testing.assert_array_equal(labels.array, label_map())


def test_points_contours_and_proportions_are_true_to_millimetres():
    """Hand-computed on a 10 x 10 x 10 volume of 2 x 3 x 4 mm: the cube is 40 mm wide, centred on voxel 4.5."""
    affine = np.diag([*SPACING_MM, 1.0])
    volume = RasVolume(np.zeros((10, 10, 10), np.int16), affine)
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:5, 6:8, 5] = 3
    view = view_around((0, 0, 0), (9, 9, 9), (3, 6, 5), volume, smallest_mm=0)
    assert view.side_mm == 40
    points = Points(np.array([[3.0, 6, 5], [0, 0, 0]]), np.array([True, False]), ["near", "far"], "#fff")
    contour = Contours(RasVolume(labels, affine), 3, "kidney, final label", "prediction", "#fff")
    axial = three_planes(volume, view, 64, [contour], [points]).split("</svg>")[0]
    # x = 20 - (i - 4.5) * 2, y = 20 - (j - 4.5) * 3
    assert '<circle class="kept" cx="23.0" cy="15.5"' in axial
    assert '<path class="far dropped" stroke="#fff" d="M29 34h.1"/>' in axial
    assert '<image x="10.00" y="5.00" width="20.00" height="30.00"' in axial
    outline = re.search(r'd="M([^"Z]+)Z"><title>kidney, final label', axial)
    xy = np.array(outline.group(1).split(), dtype=float).reshape(-1, 2)
    # the outline runs half-way between voxel centres: i from 1.5 to 4.5, j from 5.5 to 7.5
    np.testing.assert_allclose(xy.max(axis=0), [26, 17], atol=0.05)
    np.testing.assert_allclose(xy.min(axis=0), [20, 11], atol=0.05)


def test_strokes_near_the_slice_are_drawn_in_their_classes_colour():
    """On the volume above, one voxel in the slice, one 4 mm above it, one 8 mm below: farther than the slab's 5 mm."""
    affine = np.diag([*SPACING_MM, 1.0])
    volume = RasVolume(np.zeros((10, 10, 10), np.int16), affine)
    scribbles = np.zeros((10, 10, 10), np.uint8)
    scribbles[3, 6, 5], scribbles[8, 6, 6], scribbles[1, 1, 3] = 3, 14, 3
    strokes = Strokes(RasVolume(scribbles, affine), {3: "#fff"}, "#888")
    assert np.argwhere(strokes.others()).tolist() == [[8, 6, 6]]
    view = view_around((0, 0, 0), (9, 9, 9), (3, 6, 5), volume, smallest_mm=0)
    axial = three_planes(volume, view, 64, strokes=strokes).split("</svg>")[0]
    # corners half a voxel from x = 20 - (i - 4.5) * 2, y = 20 - (j - 4.5) * 3; background first
    boxes = re.findall(r'class="stroke" fill="(.*?)" stroke=".*?" d="(.*?)"', axial)
    assert boxes == [("#888", "M12.0 14.0h2.0v3.0h-2.0z"), ("#fff", "M22.0 14.0h2.0v3.0h-2.0z")]
