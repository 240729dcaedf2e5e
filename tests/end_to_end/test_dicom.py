"""Mode `default` on DICOM alone: series, strokes, support mask and an accepted label map in, SEG and RTSTRUCT out."""

import json
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest

from bundle.command_line import main
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.common.files import read_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.volume_io import read_labels
from tests.dicom.conftest import BY, WHEN, facts_of, save
from tests.fixtures.ct_series import write_ct
from tests.pipeline_fixtures import default_settings

pytestmark = pytest.mark.slow

VOXEL_MM = 8.0
CLASSES = {"spleen": 1, "liver": 4}
STROKES = {**CLASSES, "outside": 7}


def in_dicom_axes(file):
    """Voxels along left, posterior, superior."""
    return np.asarray(nib.as_closest_canonical(nib.load(file)).dataobj)[::-1, ::-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`images/ID/*.dcm`, each series in another position; strokes (SEG), support mask (RTSTRUCT), accepted (SEG)."""
    from bundle.dicom.segmentation import segmentation
    from bundle.dicom.source import read_source
    from bundle.dicom.structure_set import structure_set

    folder = tmp_path_factory.mktemp("dicom")
    phantoms = write_phantom_cohort(folder / "nifti", count=3, held_out=0, spacing_mm=(VOXEL_MM,) * 3)
    sources = []
    for number, geometry in enumerate(("axial", "reversed", "axial")):
        hu = in_dicom_axes(phantoms / "images" / f"phantom_{number:02d}.nii.gz")
        name = f"phantom_{number:02d}"
        sources.append(read_source(write_ct(folder / "images" / name, hu, geometry, voxel_mm=VOXEL_MM)))
    strokes = in_dicom_axes(phantoms / "scribbles" / "phantom_00_a.nii.gz").astype(np.uint8)
    masks = [in_dicom_axes(phantoms / "labels" / f"phantom_0{n}.nii.gz").astype(np.uint8) for n in (0, 1)]
    (folder / "accepted").mkdir()
    about = BY, "mark", WHEN
    save(segmentation(strokes, sources[0], facts_of(STROKES), *about), folder / "strokes.dcm")
    save(structure_set(masks[0], sources[0], facts_of(CLASSES), *about), folder / "mask.dcm")
    save(segmentation(masks[1], sources[1], facts_of(CLASSES), *about), folder / "accepted" / "phantom_01.dcm")
    return folder


def test_a_run_on_dicom_alone(folder):
    changes = [(stage, key, value) for stage, keys in default_settings().items() for key, value in keys.items()]
    arguments = [
        *("oneshot", "--mode", "default", "--small", "--device", "cpu", "--rtstruct"),
        *("--images", folder / "images", "--support", folder / "images" / "phantom_00"),
        *("--scribbles", folder / "strokes.dcm", "--support-mask", folder / "mask.dcm"),
        *("--accepted", folder / "accepted", "--output", folder / "out", "--classes", "spleen:1,liver:4"),
        *(part for stage, key, value in changes for part in ("--set", f"{stage}.{key}={json.dumps(value)}")),
    ]
    main([str(argument) for argument in arguments])
    work, cohort = WorkFolder(folder / "out"), load_cohort(folder / "out")
    assert (cohort.classes, cohort.background) == (CLASSES, 255)
    for number, case in enumerate(("phantom_00", "phantom_01")):
        truth = in_dicom_axes(folder / "nifti" / "labels" / f"{case}.nii.gz")
        expected = np.where(np.isin(truth, list(CLASSES.values())), truth, 0)
        for label in (work.given, work.predictions):
            np.testing.assert_array_equal(nib.load(label.label(case)).dataobj, expected, err_msg=f"{number} {label}")
    for case in cohort.cases:
        final = np.asarray(nib.load(work.predictions.label(case)).dataobj)
        for objects in (work.predictions.segmentations, work.predictions.structure_sets):
            back = read_labels(objects.label(case), CLASSES, cohort.cases[case].grid)
            np.testing.assert_array_equal(back.array, final)
    told = pydicom.dcmread(work.predictions.segmentations.label("phantom_02")).SegmentSequence[0].SegmentDescription
    assert told.startswith("Predicted Dice ")
    assert list(read_json(work.state))[-1] == "dicom"
    assert "given/phantom_00.nii.gz" in (work.report / "index.html").read_text(encoding="utf-8")
    again = {path: path.stat().st_mtime_ns for path in work.predictions.path.rglob("*.dcm")}
    shutil.rmtree(work.report)
    main([str(argument) for argument in arguments])
    assert {path: path.stat().st_mtime_ns for path in work.predictions.path.rglob("*.dcm")} == again
