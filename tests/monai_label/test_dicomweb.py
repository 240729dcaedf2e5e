"""The studies of a DICOMweb server (Orthanc): strokes come from OHIF as SEG, results go back as SEG."""

import io
import json
import uuid
from dataclasses import replace
from datetime import datetime

import nibabel as nib
import numpy as np
import pydicom
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")
import requests

from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.dicom.facts import Maker
from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import read_source
from bundle.monai_label.names import OUTSIDE, TAG, TRAINED
from bundle.monai_label.studies.login import PASSWORD, USERNAME
from scripts.common.overlap import dice_of
from scripts.data.volume_io import read_labels, read_volume
from tests.dicom.conftest import facts_of
from tests.fixtures.ct_series import write_ct
from tests.monai_label.label_server import Server, send
from tests.monai_label.orthanc import PLUGIN, PROGRAM, Orthanc
from tests.pipeline_fixtures import default_settings

pytestmark = pytest.mark.skipif(not (PROGRAM and PLUGIN), reason="apt-get install orthanc orthanc-dicomweb")

VOXEL_MM = 8.0
CASES = [f"phantom_{number:02d}" for number in range(4)]
ORGANS = {"spleen": 1, "liver": 4}
LOGIN = ("annotator", "pass:wört")
STROKES = {**ORGANS, OUTSIDE: 7}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), LOGIN)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort"), count=4, held_out=0, spacing_mm=(VOXEL_MM,) * 3)


@pytest.fixture(scope="module")
def series(orthanc, cohort, tmp_path_factory):
    """Case -> the folder of its DICOM series, which is on the server."""
    made = {}
    for case in CASES:
        hu = as_slices(cohort / "images" / f"{case}.nii.gz")
        made[case] = write_ct(tmp_path_factory.mktemp("series") / case, hu, "axial", VOXEL_MM)
        orthanc.add(made[case])
    return made


def as_slices(file):
    """(columns, rows, slices) of a NIfTI file, as `write_ct` lays them."""
    return np.asarray(nib.as_closest_canonical(nib.load(file)).dataobj)[::-1, ::-1]


def uid(folder):
    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).SeriesInstanceUID)


@pytest.fixture(scope="module")
def server(orthanc, series, tmp_path_factory):
    pairs = [(stage, key, value) for stage, keys in default_settings().items() for key, value in keys.items()]
    settings = [part for s, key, value in pairs for part in ("--set", f"{s}.{key}={json.dumps(value)}")]
    app, login = tmp_path_factory.mktemp("server") / "app", dict(zip((USERNAME, PASSWORD), LOGIN, strict=True))
    server = Server(orthanc.dicomweb, app, settings, environment=login)
    yield server
    server.kill()


def drawn_in_ohif(source, labels, classes, mark):
    """A SEG as OHIF stores it: bytes."""
    made = segmentation(
        labels.astype(np.uint8), read_source(source), facts_of(classes), Maker("OHIF", "3"), mark, datetime.now()
    )
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def stow(server, content, path="studies", kind="application/dicom"):
    boundary = uuid.uuid4().hex
    body = f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'}
    return requests.post(server.url(f"/proxy/dicom/wado/{path}"), data=body, headers=headers, timeout=60)


def test_each_series_is_a_study_on_its_own_grid(server, series, tmp_path):
    studies = server.get("/datastore/?output=all").json()["objects"]
    assert set(studies) == {uid(folder) for folder in series.values()}
    about = studies[uid(series[CASES[0]])]["image"]["info"]
    assert about["PatientID"] == "P1" and about["Modality"] == "CT"
    (tmp_path / "image.nii.gz").write_bytes(server.get(f"/datastore/image?image={uid(series[CASES[0]])}").content)
    fetched, source = read_volume(tmp_path / "image.nii.gz"), read_volume(series[CASES[0]])
    assert np.array_equal(fetched.array, source.array) and np.allclose(fetched.affine, source.affine)
    said = (server.app.parent / "server.log").read_text(encoding="utf-8")
    assert said.splitlines()[-1].startswith("Ready: 4 studies of http://127.0.0.1:") and "/ohif/ in a browser" in said


def test_a_password_is_in_nothing_that_the_server_says_or_writes(server):
    said = [*server.app.parent.glob("*.log"), *server.app.glob("logs/*")]
    assert said and not any(LOGIN[1] in file.read_text(encoding="utf-8") for file in said)
    assert LOGIN[1] not in server.get("/info/").text


def test_ohif_searches_and_fetches_through_the_server(server, series):
    assert "OHIF" in server.get("/ohif/").text
    config = server.get("/ohif/app-config.js").text
    assert "/proxy/dicom/qido" in config and "storeSegmentation" in config, "else OHIF 3.10.0-beta.5 stores nothing"
    assert "MONAILABEL_SERVER_URL" in config, "else it looks for the server at port 8000"
    found = server.get("/proxy/dicom/qido/studies?limit=101&offset=0&includefield=00081030,00080060").json()
    assert len(found) == len(CASES)
    header = pydicom.dcmread(next(series[CASES[0]].iterdir()))
    study = f"/proxy/dicom/wado/studies/{header.StudyInstanceUID}"
    of_study = server.get(f"{study.replace('wado', 'qido')}/series?includefield=0008103E").json()
    assert [row["0020000E"]["Value"] for row in of_study] == [[header.SeriesInstanceUID]]
    metadata = server.get(f"{study}/series/{header.SeriesInstanceUID}/metadata").json()
    assert {row["00080018"]["Value"][0] for row in metadata} >= {header.SOPInstanceUID}
    one = f"{study}/series/{header.SeriesInstanceUID}/instances/{header.SOPInstanceUID}"
    answer = requests.get(
        server.url(f"{one}/frames/1"),
        headers={"Accept": "multipart/related; type=application/octet-stream"},
        timeout=60,
    )
    assert answer.status_code == 200 and header.PixelData in answer.content


@pytest.mark.parametrize(
    "path",
    [
        *("qido/", "qido/patients", "qido/../../system", "qido/..%2f..%2fsystem", "wado/../instances", "wado//evil"),
        *("wado/http://evil.example/x", "wado/studies/x", "wado/studies/1.2/../../tools/reset", "qido/studies%3fx"),
        *("stow/studies", "tools/reset", "wado/studies/1.2/series/3/instances/4/frames/x", "wado/@evil.example/"),
    ],
)
def test_nothing_but_searches_and_objects_is_passed_on(server, path):
    status, text = send(server, "GET", f"/proxy/dicom/{path}")
    assert 400 <= status < 500 and len(json.loads(text)["detail"]) > 10, text


def test_pages_of_other_origins_and_names_cannot_use_it(server):
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert send(server, "GET", "/proxy/dicom/qido/studies", headers)[0] == 403


def test_only_segmentations_of_its_series_are_stored(server, orthanc, series, cohort, tmp_path):
    image = next(series[CASES[0]].iterdir()).read_bytes()
    other = write_ct(tmp_path / "elsewhere", as_slices(cohort / "images" / f"{CASES[0]}.nii.gz"), "axial", VOXEL_MM)
    labels = as_slices(cohort / "labels" / f"{CASES[0]}.nii.gz")
    for content, sentence in (
        (image, "objects of this kind are not taken"),
        (b"MZ" * 100, "this is no DICOM"),
        (drawn_in_ohif(other, labels, ORGANS, "other"), "of no series of the server"),
    ):
        answer = stow(server, content)
        assert answer.status_code == 400 and sentence in answer.json()["detail"]
    assert stow(server, image, "instances").status_code == 404
    assert orthanc.segmentations(tmp_path) == {}


def test_train_without_strokes_on_the_server_is_refused(server):
    answer = server.post("/train/", json={})
    assert answer.status_code == 400 and "no study has strokes" in answer.json()["detail"]


def test_strokes_from_ohif_become_segmentations_of_every_series(server, orthanc, series, cohort, tmp_path):
    strokes = as_slices(cohort / "scribbles" / f"{CASES[0]}_a.nii.gz")
    answer = stow(server, drawn_in_ohif(series[CASES[0]], strokes, STROKES, "strokes"))
    assert answer.status_code == 200, answer.text
    assert server.post("/train/", json={}).json()[TRAINED]["result"]["status"] in ("SUBMITTED", "RUNNING")
    server.wait_for(lambda: server.training()["status"] in ("DONE", "ERROR"))
    assert server.training()["status"] == "DONE", "\n".join(server.training()["details"])
    stored = orthanc.segmentations(tmp_path)
    assert {len(stored[uid(folder)]) for folder in series.values()} == {1, 2}, "strokes, and a result of each"
    for case in CASES:
        (file,) = [file for file in stored[uid(series[case])] if pydicom.dcmread(file).Manufacturer != "OHIF"]
        source, study = read_volume(series[case]), uid(series[case])
        result = read_labels(file, ORGANS, (source.array.shape, source.affine))
        assert np.array_equal(result.array, kept_organs(server, study, tmp_path).array)
        segments = pydicom.dcmread(file).SegmentSequence
        assert {row.SegmentLabel for row in segments} <= set(ORGANS)
        if case == CASES[0]:
            own = read_source(series[case]).labels(result.array.astype(np.uint8), result.affine, file)
            truth = as_slices(cohort / "labels" / f"{case}.nii.gz")
            assert min(dice_of(own == value, truth == value) for value in ORGANS.values()) > 0.6, "voxels of 8 mm"
        else:
            assert all("Predicted Dice" in row.SegmentDescription for row in segments)


def kept_organs(server, study, folder):
    """The study's label, with the values of `ORGANS`: those of a segmentation are numbers of its own."""
    file = folder / "kept.nii.gz"
    file.write_bytes(server.get(f"/datastore/label?label={study}&tag={TAG}").content)
    label, array = read_labels(file), 0
    for row in server.get(f"/datastore/label/info?label={study}&tag={TAG}").json()["label_info"]:
        array = array + ORGANS[row["name"]] * (label.array == row["idx"])
    return replace(label, array=array)


def test_inference_answers_ohif_with_the_label_that_was_judged(server, series, tmp_path):
    study = uid(series[CASES[1]])
    params = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    answer = server.post(f"/infer/{TRAINED}?image={study}&output=image", data={"params": json.dumps(params)})
    assert answer.status_code == 200, answer.text
    (tmp_path / "answer.nrrd").write_bytes(answer.content)
    (tmp_path / "kept.nii.gz").write_bytes(server.get(f"/datastore/label?label={study}&tag={TAG}").content)
    assert np.array_equal(read_labels(tmp_path / "answer.nrrd").array, read_labels(tmp_path / "kept.nii.gz").array)


def test_killed_and_started_again_it_knows_strokes_labels_and_corrections(server, orthanc, series, cohort, tmp_path):
    server.kill()
    server.start()
    chosen = server.post("/activelearning/least_trusted", json={}).json()["id"]
    case = next(case for case in CASES if uid(series[case]) == chosen)
    labels = as_slices(cohort / "labels" / f"{case}.nii.gz")
    kept = np.where(np.isin(labels, [*ORGANS.values()]), labels, 0)
    assert stow(server, drawn_in_ohif(series[case], kept, ORGANS, "corrected")).status_code == 200
    task = server.train_to_the_end()
    assert task["status"] == "DONE", "\n".join(task["details"])
    said = (server.app.parent / "server.log").read_text(encoding="utf-8")
    assert "embedding: done before" in said
    result = kept_organs(server, chosen, tmp_path)
    own = read_source(series[case]).labels(result.array.astype(np.uint8), result.affine, tmp_path)
    assert np.array_equal(own, kept), "what the user corrected is taken as it is"
    assert server.post("/activelearning/least_trusted", json={}).json()["id"] != chosen


def test_what_3d_slicer_submits_is_a_segmentation_on_the_server_too(server, orthanc, series, cohort, tmp_path):
    study = uid(series[CASES[0]])
    before = {file.stem for file in orthanc.segmentations(tmp_path)[study]}
    labels = as_slices(cohort / "labels" / f"{CASES[0]}.nii.gz")
    source = read_volume(series[CASES[0]])
    nib.save(nib.Nifti1Image(on_grid(labels, source.array.shape), source.affine), tmp_path / "organs.nii.gz")
    server.submit(study, tmp_path / "organs.nii.gz", ORGANS)
    (new,) = [file for file in orthanc.segmentations(tmp_path)[study] if file.stem not in before]
    assert {
        row.SegmentLabel: row.SegmentAlgorithmType for row in pydicom.dcmread(new).SegmentSequence
    } == dict.fromkeys(ORGANS, "MANUAL")


def on_grid(labels, shape):
    """The slices as our reader lays them: (X, Y, Z) of the same shape."""
    assert labels.shape == tuple(shape)
    return np.where(np.isin(labels, [*ORGANS.values()]), labels, 0).astype(np.uint8)
