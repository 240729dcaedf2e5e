"""The embedded cohort: reproducible, anatomically sane, complete on disk."""

import json

import nibabel as nib
import numpy as np
import pytest

from bundle.datasets.dataset import read_dataset
from bundle.datasets.phantom.classes import BACKGROUND_SCRIBBLE, LABELS, PAPER_CLASSES
from bundle.datasets.phantom.painter import make_phantom, painted
from bundle.datasets.phantom.torso import Ellipsoid, Layer, Torso, View, largest_part
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.common.errors import BundleError
from scripts.data.volume_io import read_labels, read_volume

COARSE_MM = (6.0, 6.0, 6.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort"), count=3, held_out=1, seed=2, spacing_mm=COARSE_MM)


def centres_mm(phantom):
    return {
        name: nib.affines.apply_affine(phantom.affine, np.argwhere(phantom.label == value).mean(axis=0))
        for name, value in LABELS.items()
    }


@pytest.mark.parametrize(("seed", "axes", "oblique"), [(0, "LAS", False), (1, "LPS", False), (4, "LAS", True)])
def test_organs_lie_where_a_patients_do_whatever_the_orientation(seed, axes, oblique):
    phantom = make_phantom(seed, COARSE_MM)
    assert "".join(nib.aff2axcodes(phantom.affine)) == axes
    assert bool(nib.affines.obliquity(phantom.affine).max() > 0.01) == oblique
    assert np.allclose(nib.affines.voxel_sizes(phantom.affine), COARSE_MM)
    centre = centres_mm(phantom)
    assert centre["liver"][0] > 20 > -40 > centre["spleen"][0]  # RAS+: the patient's right is positive
    assert centre["right_kidney"][0] > 30 > -30 > centre["left_kidney"][0]
    assert centre["stomach"][1] > centre["left_kidney"][1] + 30  # anterior is positive
    assert centre["liver"][2] > centre["right_kidney"][2]  # superior is positive
    left_kidney, right_kidney = centre["left_kidney"][2], centre["right_kidney"][2]
    assert left_kidney > right_kidney - 25


def test_layers_are_painted_over_each_other_and_nothing_else_changes():
    hu, label = np.array([[[-1000.0, -1000.0, 5.0]]], np.float32), np.array([[[0, 0, 4]]], np.uint8)
    first = Layer(np.array([[[True, True, False]]]), 40.0, label=1)
    second = Layer(np.array([[[False, True, True]]]), np.array([[[1.0, 2.0, 3.0]]]))
    third = Layer(np.array([[[False, False, True]]]), label=0)
    image, drawn = painted(hu, label, [first, second, third])
    assert image.ravel().tolist() == [40, 2, 3] and drawn.ravel().tolist() == [1, 1, 0]
    assert hu.ravel().tolist() == [-1000, -1000, 5] and label.ravel().tolist() == [0, 0, 4]


def test_relative_radius_is_one_on_the_surface_and_the_tilt_turns_the_top_to_the_right():
    view = View((1, 1, 2), np.eye(4), np.array([1.0, 1.0, 2.0]))
    places_mm = np.array([[10.0, 0.0, 0.0], [0.0, 0.0, 30.0]]).T.reshape(3, 1, 1, 2)
    torso = Torso(view, *places_mm)
    assert np.allclose(torso.relative_radius(Ellipsoid((0, 0, 0), (5, 7, 10))), [[[2, 3]]])
    assert np.allclose(torso.relative_radius(Ellipsoid((0, 0, 0), (5, 7, 10), tilt_deg=90)), [[[1, 6]]])


def test_the_largest_part_of_a_mask():
    mask = np.array([[[True, False, True, True, False, True]]])
    assert largest_part(mask).ravel().tolist() == [False, False, True, True, False, False]


def test_the_four_organs_of_the_demo_are_wholly_in_view_and_of_plausible_volume():
    limits_ml = {"spleen": (60, 350), "left_kidney": (50, 330), "right_kidney": (50, 330), "liver": (800, 2500)}
    for seed in range(4):
        label = make_phantom(seed, COARSE_MM).label
        border = np.ones(label.shape, dtype=bool)
        border[1:-1, 1:-1, 1:-1] = False
        for name in PAPER_CLASSES:
            organ = label == LABELS[name]
            low, high = limits_ml[name]
            assert low < organ.sum() * np.prod(COARSE_MM) / 1000 < high, (seed, name)
            assert not (organ & border).any(), (seed, name)


def test_tissue_has_the_density_of_ct():
    phantom = make_phantom(3, COARSE_MM)
    mean = {name: phantom.hu[phantom.label == value].mean() for name, value in LABELS.items()}
    assert phantom.hu.dtype == np.int16
    assert phantom.label.dtype == np.uint8
    assert phantom.hu[0, 0, -1] < -900  # air around the patient
    assert phantom.hu.max() > 250  # bone
    assert all(40 < mean[name] < 250 for name in PAPER_CLASSES)
    assert abs(mean["liver"] - mean["spleen"]) < 60  # no threshold tells them apart


def test_the_seed_decides_and_the_spacing_only_samples():
    first, again, other = make_phantom(5, COARSE_MM), make_phantom(5, COARSE_MM), make_phantom(6, COARSE_MM)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.label, again.label)
    assert first.hu.shape != other.hu.shape or not np.array_equal(first.hu, other.hu)
    finer = centres_mm(make_phantom(5, (5.0, 5.0, 4.0)))
    for name, centre in centres_mm(first).items():
        if name in PAPER_CLASSES:
            assert np.allclose(centre, finer[name], atol=3.0), name


def test_the_cohort_has_the_layout_of_a_real_one(cohort):
    dataset = read_dataset(cohort)
    assert dataset.phantom
    assert dataset.support == "phantom_00"
    assert dataset.unlabelled == ("phantom_00", "phantom_01")
    assert dataset.test == ("phantom_02",)
    assert dataset.classes == {"spleen": 1, "left_kidney": 3, "right_kidney": 2, "liver": 4}
    assert dataset.background == BACKGROUND_SCRIBBLE == 7
    content = json.loads((cohort / "dataset.json").read_text(encoding="utf-8"))
    assert {"labels", "alternative_supports", "phantom"} <= content.keys()
    for case in (*dataset.unlabelled, *dataset.test):
        image, label = read_volume(dataset.image(case)), read_labels(dataset.labels / f"{case}.nii.gz")
        assert image.array.shape == label.array.shape
        assert np.array_equal(image.affine, label.affine)


def test_scribbles_of_the_support_agree_with_its_labels(cohort):
    scribbles = read_labels(read_dataset(cohort).scribbles()).array
    label = read_labels(cohort / "labels" / "phantom_00.nii.gz").array
    drawn = (scribbles > 0) & (scribbles < BACKGROUND_SCRIBBLE)
    assert set(np.unique(scribbles)) == {0, *LABELS.values(), BACKGROUND_SCRIBBLE}
    assert np.array_equal(scribbles[drawn], label[drawn])
    assert not label[scribbles == BACKGROUND_SCRIBBLE].any()


def test_a_whole_cohort_is_left_alone_and_a_damaged_one_mended(cohort):
    def stamps():
        return {file.name: file.stat().st_mtime_ns for file in cohort.rglob("*.nii.gz")}

    before = stamps()
    image = nib.load(cohort / "images" / "phantom_01.nii.gz").get_fdata()
    write_phantom_cohort(cohort, count=3, held_out=1, seed=2, spacing_mm=COARSE_MM)
    assert stamps() == before
    (cohort / "images" / "phantom_01.nii.gz").unlink()
    write_phantom_cohort(cohort, count=3, held_out=1, seed=2, spacing_mm=COARSE_MM)
    assert stamps().keys() == before.keys()
    assert np.array_equal(nib.load(cohort / "images" / "phantom_01.nii.gz").get_fdata(), image)


def test_a_cohort_of_other_settings_is_replaced(tmp_path):
    write_phantom_cohort(tmp_path, count=3, held_out=1, spacing_mm=(9.0, 9.0, 9.0))
    write_phantom_cohort(tmp_path, count=2, held_out=0, spacing_mm=(9.0, 9.0, 9.0))
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == ["phantom_00.nii.gz", "phantom_01.nii.gz"]
    assert read_dataset(tmp_path).test == ()


def test_a_real_dataset_is_never_overwritten(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {}}')
    with pytest.raises(BundleError, match="the folder holds a dataset that is no phantom"):
        write_phantom_cohort(tmp_path)
    assert (tmp_path / "dataset.json").read_text(encoding="utf-8") == '{"labels": {}}'


def test_too_few_volumes_are_refused(tmp_path):
    with pytest.raises(BundleError, match="a cohort needs at least two volumes that are not held out"):
        write_phantom_cohort(tmp_path, count=4, held_out=3)
