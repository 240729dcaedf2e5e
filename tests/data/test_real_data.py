"""Real CT, where there is any: `ONESHOT_DATA` names the folder, or it lies beside the repository in `shared/data`."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bundle.datasets.dataset import read_dataset
from bundle.datasets.links import link_images
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.volume_io import find_label_maps, find_volumes, read_labels, read_volume, scan_folder
from tests.fixtures.real_data import data

SPACING_MM = (8.0, 8.0, 8.0)


@pytest.mark.parametrize(("name", "orientation"), [("abdomen_ct", "LAS"), ("headneck_ct", "LPS")])
def test_two_volumes_become_a_cohort(tmp_path, name, orientation):
    dataset = read_dataset(data(name))
    ids = [dataset.support, dataset.test[0]]
    images = link_images({case: dataset.image(case) for case in ids}, tmp_path / "images")
    cohort = prepare_cohort(
        images,
        tmp_path / "out",
        SPACING_MM,
        support=dataset.image(dataset.support),
        scribbles=dataset.scribbles(),
        classes=dataset.classes,
        background=dataset.background,
    )
    assert sorted(cohort.cases) == sorted(ids)
    assert cohort.rejected == {}
    for case in cohort.cases.values():
        assert case.orientation == orientation
        assert np.array_equal(np.array(case.affine), nib.load(dataset.image(case.id)).affine)
        cached, body = nib.load(cohort.cached_image(case.id)), nib.load(cohort.cached_body(case.id))
        assert nib.aff2axcodes(cached.affine) == ("R", "A", "S")
        assert np.allclose(np.linalg.norm(cached.affine[:3, :3], axis=0), SPACING_MM)
        array = np.asarray(cached.dataobj)
        assert array.min() >= 0 and array.max() <= 1
        assert 0.03 < np.asarray(body.dataobj).mean() < 0.95  # a head in a wide field of view is little
        corners = np.array([[0, 0, 0], np.array(case.shape) - 1])
        middle_mm = nib.affines.apply_affine(np.array(case.affine), corners).mean(axis=0)
        cached_corners = np.array([[0, 0, 0], np.array(cached.shape) - 1])
        assert np.allclose(nib.affines.apply_affine(cached.affine, cached_corners).mean(axis=0), middle_mm, atol=8.1)


@pytest.mark.parametrize("name", ["abdomen_ct", "headneck_ct"])
def test_scribbles_agree_with_labels(name):
    dataset = read_dataset(data(name))
    strokes = read_labels(dataset.scribbles())
    label = read_labels(dataset.labels / f"{dataset.support}.nii.gz")
    assert strokes.array.shape == label.array.shape
    assert np.allclose(strokes.affine, label.affine)
    drawn = strokes.array > 0
    for value in dataset.classes.values():
        assert np.array_equal(np.unique(label.array[strokes.array == value]), [value])
    assert dataset.background in strokes.array[drawn]
    assert not label.array[strokes.array == dataset.background].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["abdomen_ct", "headneck_ct", "abdomen_mr"])
def test_every_volume_is_read_without_a_remark(name):
    folder = data(name)
    found = scan_folder(folder / "images")
    assert found.unused == [] and found.volumes
    for source in found.volumes.values():
        assert read_volume(source, strict=True).remarks == (), source
    for source in find_label_maps(folder / "labels").values():
        assert read_labels(source).remarks == (), source


def test_a_dicom_series_is_a_volume():
    folder = data("dicom_ct")
    (case, source), *others = find_volumes(folder).items()
    assert (case, others) == ("CRLM-CT-1004", [])
    volume = read_volume(source, strict=True)
    assert volume.array.shape == (512, 512, 41) and volume.remarks == ()
    assert np.allclose(volume.spacing_mm, (0.8, 0.8, 5.0), atol=0.05)
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    assert volume.array.min() == -3024  # the scanner's padding outside its field of view
    assert np.median(volume.array[volume.array > -3024]) > -1024
    assert 200 < volume.array.max() < 4000
