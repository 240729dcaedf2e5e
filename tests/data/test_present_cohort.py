"""A config that is run by itself: images replaced under their old names since the cohort was prepared are noticed."""

import logging
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import run

import scripts.data.cache_cohort
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.data.cache_cohort import present_cohort
from scripts.data.cohort import load_cohort
from scripts.data.intensity import normalise_hu
from scripts.data.prepare_cohort import prepare_cohort
from tests.paths import CONFIGS
from tests.pipeline_fixtures import AFFINE, BACKGROUND, CLASSES, SPACING_MM, make_cohort, save, volume


@pytest.fixture
def folder(tmp_path):
    make_cohort(tmp_path)
    prepare_cohort(
        images=tmp_path / "images",
        output_dir=tmp_path / "out",
        spacing_mm=[SPACING_MM] * 3,
        support=tmp_path / "images" / "case_0.nii.gz",
        scribbles=tmp_path / "scribbles.nii.gz",
        classes=CLASSES,
        background=BACKGROUND,
    )
    return tmp_path


def test_a_replaced_image_is_cached_again_and_that_is_said(folder, caplog):
    file = save(folder / "images" / "case_1.nii.gz", volume(9))
    others = [load_cohort(folder / "out").cached_image(case).stat().st_mtime_ns for case in ("case_0", "case_2")]
    with caplog.at_level(logging.WARNING):
        cohort = present_cohort(folder / "out")
    assert caplog.messages == [
        "1 image was replaced since the cohort was prepared, and what was made of it is made again: case_1"
    ]
    assert cohort.cases["case_1"].sha256 == sha256_of_file(file)
    assert load_cohort(folder / "out") == cohort
    found = nib.load(cohort.cached_image("case_1")).get_fdata()
    np.testing.assert_allclose(found, normalise_hu(volume(9))[::-1], atol=1e-6)
    assert [cohort.cached_image(case).stat().st_mtime_ns for case in ("case_0", "case_2")] == others
    caplog.clear()
    assert present_cohort(folder / "out") == cohort and not caplog.messages


def test_a_kill_between_cache_and_cohort_file_hides_no_replaced_image(folder, monkeypatch):
    file = save(folder / "images" / "case_1.nii.gz", volume(9))
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(scripts.data.cache_cohort, "write_cohort", Mock(side_effect=KeyboardInterrupt))
        present_cohort(folder / "out")
    assert present_cohort(folder / "out").cases["case_1"].sha256 == sha256_of_file(file)


def test_images_that_nobody_touched_are_not_read(folder, monkeypatch):
    monkeypatch.setattr(scripts.data.cache_cohort, "find_or_read", pytest.fail)
    assert present_cohort(folder / "out") == load_cohort(folder / "out")


def test_a_touched_image_of_the_same_content_is_read_once(folder, monkeypatch, caplog):
    before = load_cohort(folder / "out")
    file = folder / "images" / "case_2.nii.gz"
    file.write_bytes(file.read_bytes())
    assert present_cohort(folder / "out") == before and not caplog.messages
    monkeypatch.setattr(scripts.data.cache_cohort, "find_or_read", pytest.fail)
    assert present_cohort(folder / "out") == before


def test_images_that_are_gone_leave_the_cohort_as_it_is(folder):
    before = load_cohort(folder / "out")
    (folder / "images" / "case_1.nii.gz").unlink()
    assert present_cohort(folder / "out") == before


def test_a_support_on_another_grid_needs_other_strokes(folder):
    affine = AFFINE.copy()
    affine[2, 3] += 4
    save(folder / "images" / "case_0.nii.gz", volume(9), affine)
    with pytest.raises(BundleError, match="the support was replaced by a volume on another grid") as caught:
        present_cohort(folder / "out")
    assert caught.value.case == "case_0"


def test_a_stage_that_is_run_by_itself_makes_the_result_of_a_replaced_image_again(folder):
    def grow():
        run(config_file=str(CONFIGS / "support_mask.json"), output_dir=str(folder / "out"))
        return read_json(folder / "out" / "support_mask" / "case_0.json")["inputs"]

    first = grow()
    assert grow() == first
    save(folder / "images" / "case_0.nii.gz", volume(9))
    assert grow() != first
