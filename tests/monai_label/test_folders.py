"""Folders of studies in other formats than NIfTI through a real server, and folders that cannot be served."""

import json
import os
import subprocess

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tests.paths import ROOT

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.monai_label.names import OUTSIDE, SUPPORT_MASK
from bundle.monai_label.studies.folder import FolderSource, all_nifti
from scripts.common.errors import BundleError
from scripts.data.volume_io import read_labels, read_volume
from tests.fixtures.ct_series import write_ct
from tests.monai_label.label_server import Server

VOXEL_MM = 8.0


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """One study as NRRD, one as a folder of DICOM, two as series that lie together."""
    root = tmp_path_factory.mktemp("folders")
    cohort = write_phantom_cohort(root / "cohort", count=4, held_out=0, spacing_mm=(VOXEL_MM,) * 3)
    images = sorted((cohort / "images").glob("*.nii.gz"))
    folder = root / "studies"
    folder.mkdir()
    sitk.WriteImage(sitk.ReadImage(str(images[0])), str(folder / "first.nrrd"))
    for name, image in (("second", images[1]), ("exam/third", images[2]), ("exam/fourth", images[3])):
        hu = np.asarray(nib.as_closest_canonical(nib.load(image)).dataobj)[::-1, ::-1]
        made = write_ct(root / "made" / name, hu, "axial", VOXEL_MM, PatientID=name.split("/")[-1])
        target = folder / name.split("/")[0]
        target.mkdir(exist_ok=True)
        (target / "deep").mkdir(exist_ok=True) if "/" in name else None
        for file in made.iterdir():
            file.rename((target / "deep" if "/" in name else target) / f"{name.split('/')[-1]}_{file.name}")
    return folder


def test_every_format_is_served_as_nifti_on_its_own_grid(studies, tmp_path):
    before = sorted(str(file) for file in studies.rglob("*"))
    server = Server(studies, tmp_path / "app")
    try:
        known = server.get("/datastore/?output=all").json()["objects"]
        source = FolderSource(studies, tmp_path / "series")
        assert len(known) == 4 and set(known) == set(source.volumes) and {"first", "second"} < set(known)
        for study in known:
            (tmp_path / "image.nii.gz").write_bytes(server.get(f"/datastore/image?image={study}").content)
            served, own = read_volume(tmp_path / "image.nii.gz"), read_volume(source.volumes[study])
            assert np.array_equal(served.array, own.array) and np.allclose(served.affine, own.affine, atol=1e-4)
        strokes = next((studies.parent / "cohort" / "scribbles").glob("*_00_a.nii.gz"))
        info = [{"name": "liver", "idx": 4}, {"name": OUTSIDE, "idx": 7}]
        answer = server.post(
            f"/infer/{SUPPORT_MASK}?image=first&output=image",
            data={"params": json.dumps({"label_info": info})},
            files={"label": (strokes.name, strokes.read_bytes())},
        )
        assert answer.status_code == 200, answer.text
        (tmp_path / "grown.nii.gz").write_bytes(answer.content)
        assert set(np.unique(read_labels(tmp_path / "grown.nii.gz").array)) == {0, 4}
        (studies / "fifth.nrrd").write_bytes((studies / "first.nrrd").read_bytes())
        server.wait_for(lambda: total(server) == 5)
        assert server.get("/datastore/image?image=fifth").status_code == 200, "without a restart"
        (studies / "fifth.nrrd").unlink()
        server.wait_for(lambda: total(server) == 4)
        assert server.get("/datastore/image?image=fifth").status_code == 404
    finally:
        server.kill()
    assert sorted(str(file) for file in studies.rglob("*")) == before, "nothing is written among the studies"


def total(server):
    return server.get("/info/").json()["datastore"]["total"]


def test_a_folder_with_series_together_gives_each_a_folder_of_its_own(studies, tmp_path):
    source = FolderSource(studies, tmp_path / "series")
    for study, volume in source.volumes.items():
        own = source.volume(study)
        assert own.is_dir() or study == "first"
        assert np.array_equal(read_volume(own).array, read_volume(volume).array)


def test_a_folder_without_a_volume_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(BundleError, match="there is no volume in the folder of studies") as caught:
        all_nifti(tmp_path)
    assert "notes.txt" in str(caught.value.found) and "DICOM series" in str(caught.value.expected)


def test_make_demands_studies():
    run = subprocess.run(
        ["make", "monai-label"], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "STUDIES": ""}
    )
    assert run.returncode != 0 and "which studies? make monai-label STUDIES=DIR" in run.stderr
    assert "set-up" not in run.stdout + run.stderr, "asked before anything is installed"
