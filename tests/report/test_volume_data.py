"""What the viewer gets: where it lies, how coarse it is, and how large."""

from __future__ import annotations

import base64
import gzip

import nibabel as nib
import numpy as np
import pytest

from bundle.report.browser.data_files import keep_data_file, state_of
from bundle.report.browser.volume_data import CT_WINDOWS, VOLUME_BUDGET_BYTES, small_volume
from bundle.report.page import write_report
from scripts.data.volume_io import Volume
from tests.report.runs import LPS, SPACING_MM, beside, label_map, save

AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])


def nifti(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def block(labels: bool = False) -> Volume:
    """40 x 40 x 8 mm-sized voxels with a block from x = 10 to 19, y = 20 to 29, z = 2 to 5."""
    array = np.zeros((40, 40, 8), np.uint8) if labels else np.full((40, 40, 8), -1000, np.float32)
    array[10:20, 20:30, 2:6] = 7 if labels else 101
    return Volume(array, AFFINE)


def test_a_fine_volume_is_made_coarser_and_keeps_its_place():
    made = small_volume(block(), {"final label": block(labels=True)}, "ct")
    image, label = nifti(made.image), nifti(made.labels["final label"])
    assert made.spacing_mm == (2.0, 2.0, 5.0) and image.shape == label.shape == (20, 20, 8)
    np.testing.assert_allclose(image.affine, label.affine)
    assert image.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8
    voxels = np.argwhere(np.asarray(label.dataobj) == 7)
    centre_mm = nib.affines.apply_affine(label.affine, voxels.mean(axis=0))
    np.testing.assert_allclose(centre_mm, [14.5, 24.5, 17.5], atol=1e-5)
    values = np.asarray(image.dataobj)
    assert values[7, 12, 4] in (100, 102) and not (values % 2).any(), "in steps of 2"


def test_a_volume_that_is_too_large_is_made_coarser_still():
    noise = np.random.default_rng(0).normal(0, 300, (60, 60, 40)).astype(np.float32)
    image = Volume(noise, np.diag([2.0, 2.0, 2.0, 1.0]))
    whole = small_volume(image, {}, "ct")
    assert nifti(whole.image).shape == (60, 60, 40)
    small = small_volume(image, {}, "ct", most_bytes=whole.base64_bytes // 4)
    assert small.base64_bytes <= whole.base64_bytes // 4 and min(small.spacing_mm) > 3
    assert whole.base64_bytes == len(whole.to_json()["image"])


def test_ct_has_windows_of_tissues_and_mr_percentiles_inside_the_body():
    windows = dict(small_volume(block(), {}, "ct").windows)
    assert windows == CT_WINDOWS and list(windows) == ["soft tissue", "lung", "bone", "brain"]
    array = np.full((10, 10, 10), -1000, np.float32)
    array[5:] = np.linspace(0, 100, 500).reshape(5, 10, 10)
    windows = dict(small_volume(Volume(array, np.diag([3.0, 3, 3, 1])), {}, "mr").windows)
    assert windows["percentiles 1 to 99"] == (1, 99) and windows["percentiles 5 to 95"] == (5, 95)


def test_a_volume_of_one_value_has_a_window(tmp_path):
    flat = small_volume(Volume(np.full((4, 4, 4), 3, np.float32), AFFINE), {}, "mr")
    assert all(low < high for low, high in flat.windows.values())


def test_the_support_has_its_mask_and_every_case_its_labels(output):
    save(output / "support_mask", label_map(), "case_0")
    page = write_report(output)
    names = {case: [name for name, _ in beside(page, "volume", case)["labels"]] for case in ("case_0", "case_1")}
    assert names["case_1"] == ["final label", "transferred label"]
    assert names["case_0"] == ["final label", "transferred label", "support mask"]
    volume = beside(page, "volume", "case_2")
    label = nifti(base64.b64decode(dict(volume["labels"])["final label"]))
    assert np.isin(volume["values"], np.asarray(label.dataobj)).all()
    # case_2's spleen: stored voxels 6 to 11, 5 to 10, 6 to 11; its centre is a voxel near their mean.
    middle_mm = nib.affines.apply_affine(LPS, [8.5, 7.5, 8.5])
    np.testing.assert_allclose(volume["centres"][0], middle_mm, atol=max(SPACING_MM) / 2 + 0.1)


def test_a_case_stays_below_5_mb(output):
    page = write_report(output)
    for case in ("case_0", "case_1"):
        sizes = [len(str(beside(page, kind, case))) for kind in ("panel", "volume")]
        assert sum(sizes) < 5_000_000
    assert VOLUME_BUDGET_BYTES < 3_500_000


def test_files_of_cases_that_have_not_changed_are_left_alone(output):
    folder = write_report(output).parent / "cases"
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    write_report(output)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    save(output / "predictions", label_map(shift=1), "case_1")
    write_report(output)
    changed = {file.name for file in folder.iterdir() if file.stat().st_mtime_ns != before[file.name]}
    assert {name.split("_")[1] for name in changed} == {"panel.js", "volume.js"} and len(changed) == 2


def test_a_file_is_made_again_from_other_inputs_alone(tmp_path):
    file, made = tmp_path / "k_kind.js", []

    def make() -> str:
        made.append(1)
        return "<value>"

    for inputs in ([1], [1], [2]):
        keep_data_file(file, "kind", "k", inputs, make)
    assert len(made) == 2
    assert file.read_text(encoding="ascii").split("\n")[2] == '"\\u003cvalue\\u003e"'
    assert state_of(file, None, tmp_path / "missing") == state_of(file) and len(state_of(file)) == 1


def test_a_missing_image_costs_the_viewer_and_nothing_else(output):
    (output / "images" / "case_1.nii.gz").unlink()
    page = write_report(output)
    with pytest.raises(FileNotFoundError):
        beside(page, "volume", "case_1")
    assert "so there are no pictures" in beside(page, "panel", "case_1")
