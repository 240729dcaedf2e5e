"""Names of a cohort's files: none meets another's, whatever the cases are called; and the cache of version 0.3.0."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.common.errors import BundleError
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import prepare_cohort
from tests.pipeline_fixtures import BACKGROUND, CLASSES, SHAPE, SPACING_MM, make_cohort, save, strokes, volume


@pytest.fixture
def folder(tmp_path):
    return make_cohort(tmp_path)


def prepare(folder, **changes) -> Cohort:
    arguments = {
        "images": folder / "images",
        "output_dir": folder / "out",
        "spacing_mm": [SPACING_MM] * 3,
        "support": folder / "images" / "case_0.nii.gz",
        "scribbles": folder / "scribbles.nii.gz",
        "classes": CLASSES,
        "background": BACKGROUND,
    }
    return prepare_cohort(**(arguments | changes))


def as_nrrd(file, target):
    sitk.WriteImage(sitk.ReadImage(str(file)), str(target))
    return target


def content(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_names_that_hold_each_other_share_no_file(folder):
    """Each case's cache is what it is without the others; `a_body` once met `a`'s own files."""
    names = ("a", "a_body", "a_scribbles", "a.nii", "a.json", "image", "body", "record", "record.json", "cache")
    for number, name in enumerate(names):
        save(folder / "images" / f"{name}.nii.gz", volume(50 + number))
    cohort = prepare(folder)
    assert set(names) < set(cohort.cases)
    for number, name in enumerate(names):
        save(folder / "alone" / name / "images" / f"{name}.nii.gz", volume(50 + number))
        out = folder / "alone" / name / "out"
        alone = prepare_cohort(folder / "alone" / name / "images", out, [SPACING_MM] * 3, minimum_cases=1)
        for file in (Cohort.cached_image, Cohort.cached_body):
            assert file(cohort, name).read_bytes() == file(alone, name).read_bytes()
    before = content(folder / "out")
    prepare(folder)
    assert content(folder / "out") == before


def test_converted_strokes_meet_no_converted_volume(folder):
    scribbles = as_nrrd(folder / "scribbles.nii.gz", folder / "scribbles.nrrd")
    as_nrrd(folder / "images" / "case_1.nii.gz", folder / "images" / "case_0_scribbles.mha")
    (folder / "images" / "case_1.nii.gz").unlink()
    cohort = prepare(folder, scribbles=scribbles)
    np.testing.assert_array_equal(nib.load(cohort.scribbles).dataobj, strokes())
    np.testing.assert_array_equal(nib.load(cohort.cases["case_0_scribbles"].image).dataobj, volume(1))


def test_a_moved_work_directory_converts_again(folder):
    as_nrrd(folder / "images" / "case_1.nii.gz", folder / "images" / "other.nrrd")
    (folder / "images" / "case_1.nii.gz").unlink()
    prepare(folder)
    (folder / "out").rename(folder / "moved")
    moved = prepare(folder, output_dir=folder / "moved").cases["other"]
    assert moved.image == folder / "moved" / "images" / "other.nii.gz" and moved.image.exists()


def test_the_cache_of_0_3_0_is_made_again_and_only_that_goes(folder):
    cache = folder / "out" / "cache"
    cache.mkdir(parents=True)
    for name in ("case_1.nii", "case_1_body.nii"):
        (cache / name).write_text("old")
    record = {"stamp": [], "voxels": "", "inputs": "old", "files": {}, "case": {"id": "case_1"}}
    (cache / "case_1.json").write_text(json.dumps(record))
    users = {"mine.nii": "voxels", "mine.json": "{}", "case_2.nii": "no record names it"}
    for name, text in users.items():
        (cache / name).write_text(text)
    prepare(folder)
    assert {file.name: file.read_text() for file in cache.iterdir() if file.is_file()} == users


@pytest.mark.parametrize("names", [("e", "E"), ("e\u0301", "\u00c9")])
def test_names_that_a_disk_cannot_tell_apart_are_refused(folder, monkeypatch, names):
    for number, name in enumerate(names):
        save(folder / "images" / f"{name}.nii.gz", volume(60 + number))
    assert set(names) < set(prepare(folder).cases), "this disk can"
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.swapcase())))
    with pytest.raises(BundleError, match="cannot tell two volumes' names apart"):
        prepare(folder)


def test_a_check_that_fails_leaves_strokes_and_cohort_as_they_were(folder):
    scribbles = as_nrrd(folder / "scribbles.nii.gz", folder / "scribbles.nrrd")
    first = prepare(folder, scribbles=scribbles)
    before = content(folder / "out")
    as_nrrd(save(folder / "other.nii.gz", strokes()[:, ::-1].copy()), scribbles)

    def refuse(cohort):
        assert cohort.cases == first.cases
        raise BundleError("does not fit")

    with pytest.raises(BundleError, match="does not fit"):
        prepare(folder, scribbles=scribbles, check=refuse)
    assert content(folder / "out") == before


def test_bad_strokes_leave_no_output_at_all(folder):
    save(folder / "scribbles.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(BundleError):
        prepare(folder)
    assert not (folder / "out").exists()
