"""Label maps given as DICOM: which case they belong to, and what the stages read."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from bundle.pipeline.given.label_maps import accepted_labels, accepted_places, as_nifti, convert_given
from bundle.report.run import load_run
from scripts.common.errors import BundleError
from scripts.common.files import write_json, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.volume_io import read_labels
from tests.dicom.conftest import CLASSES, noisy_hu, noisy_labels, write_both
from tests.fixtures.ct_series import write_ct


@pytest.fixture
def given(tmp_path):
    """A cohort of two series; SEG and RTSTRUCT of the first are its accepted label map and the support's mask."""
    sources = [write_ct(tmp_path / "images" / f"case_{n}", noisy_hu(n), "axial") for n in (0, 1)]
    (tmp_path / "accepted").mkdir()
    strokes = shutil.copy(write_both(sources[0], noisy_labels(0), tmp_path).segmentation, tmp_path / "strokes.dcm")
    settings = SimpleNamespace(accepted=tmp_path / "accepted", support_mask=tmp_path / "mask.dcm")
    shutil.copy(write_both(sources[0], noisy_labels(7), tmp_path).structure_set, settings.support_mask)
    shutil.copy(write_both(sources[1], noisy_labels(8), tmp_path).segmentation, settings.accepted / "1.2.3.4")
    cohort = prepare_cohort(
        tmp_path / "images", tmp_path / "out", [8, 8, 8], sources[0], strokes, {"spleen": 1, "left_kidney": 3}
    )
    return settings, cohort


def test_a_file_of_any_name_belongs_to_the_series_that_it_refers_to(given):
    settings, cohort = given
    assert list(accepted_labels(settings)) == ["1.2.3.4"]
    assert accepted_labels(settings, cohort) == {"case_1": settings.accepted / "1.2.3.4"}
    write_json(cohort.output_dir / "run.json", {"accepted": str(settings.accepted)})
    assert load_run(cohort.output_dir).choices.accepted == ("case_1",), "the report says so, too"
    shutil.copy(settings.accepted / "1.2.3.4", settings.accepted / "case_1.dcm")
    with pytest.raises(BundleError, match="two accepted label maps are of one case"):
        accepted_labels(settings, cohort)


def test_the_stages_read_nifti_on_the_cases_grid(given):
    settings, cohort = given
    work = WorkFolder(cohort.output_dir)
    convert_given(settings, cohort)
    for case, seed, file in (("case_0", 7, settings.support_mask), ("case_1", 8, settings.accepted / "1.2.3.4")):
        assert as_nifti(file, case, work) == work.given.label(case)
        label = read_labels(work.given.label(case))
        np.testing.assert_array_equal(label.array, np.where(noisy_labels(seed) == 7, 0, noisy_labels(seed)))
        np.testing.assert_allclose(label.affine, np.asarray(cohort.cases[case].affine))
    assert accepted_places(settings, cohort) == {"case_1": work.given.label("case_1")}
    named = SimpleNamespace(accepted=("case_1",), output=work.path)
    write_nifti(work.predictions.label("case_1"), noisy_labels(8), np.eye(4))
    assert accepted_places(named, cohort) == {"case_1": work.accepted.label("case_1")}
    nifti = work.given.label("case_0")
    assert as_nifti(nifti, "case_0", work) == nifti
    before = nifti.stat().st_mtime_ns
    convert_given(settings, cohort)
    assert nifti.stat().st_mtime_ns == before
    assert list(CLASSES)[2] not in cohort.classes
