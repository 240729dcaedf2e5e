"""The app through a real MONAI Label server on loopback: `make test-monai-label`."""

import json
import time

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")
import psutil
import requests

from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.monai_label.names import LOOKS, OUTSIDE, SHIPPED, SHOWN, SUPPORT_MASK, TAG, TRAINED
from scripts.common.overlap import dice_of
from tests.monai_label.label_server import PATIENCE_S, Server, infer, quality
from tests.pipeline_fixtures import default_settings

CASES = [f"phantom_{number:02d}" for number in range(4)]
ORGANS = {"spleen, whole": 1, "liver": 4}  # names are whatever the user calls the segments


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort"), count=4, held_out=0, spacing_mm=(8.0, 8.0, 8.0))


@pytest.fixture(scope="module")
def server(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    studies = folder / "studies"
    studies.mkdir()
    for case in CASES:
        (studies / f"{case}.nii.gz").write_bytes((cohort / "images" / f"{case}.nii.gz").read_bytes())
    pairs = [(stage, key, value) for stage, keys in default_settings().items() for key, value in keys.items()]
    settings = [part for s, key, value in pairs for part in ("--set", f"{s}.{key}={json.dumps(value)}")]
    server = Server(studies, folder / "app", ["--shipped", *settings])
    yield server
    server.kill()


def test_info_names_the_shipped_network_and_the_trainer(server):
    info = server.get("/info/").json()
    assert set(info["models"]) == {SHIPPED, SUPPORT_MASK}, "nothing was trained yet"
    assert info["models"][SUPPORT_MASK]["type"] == "scribbles", "3D Slicer offers it in its scribbles panel"
    assert info["models"][SHIPPED]["labels"] == {"spleen": 1, "left_kidney": 2, "liver": 3}
    assert info["models"][SHIPPED]["config"]["model_filename"] == ["model.pt"]
    assert list(info["trainers"]) == [TRAINED] and "least_trusted" in info["strategies"]


@pytest.mark.parametrize("codes", ["LAS", "LPS", "oblique"])
def test_the_shipped_network_answers_on_the_images_own_grid(server, codes, tmp_path):
    image = nib.load(server.studies / f"{CASES[0]}.nii.gz")
    target = nib.orientations.axcodes2ornt("LPS" if codes == "LPS" else "LAS")
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), target))
    if codes == "oblique":
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
        turned = nib.Nifti1Image(np.asarray(turned.dataobj), turn @ turned.affine)
    file = tmp_path / f"{codes}.nii.gz"
    nib.save(turned, file)
    with file.open("rb") as content:
        answer = requests.put(
            server.url(f"/datastore/?image={codes}"), files={"file": (file.name, content)}, timeout=60
        )
    assert answer.status_code == 200, answer.text
    assert infer(server, SHIPPED, codes, tmp_path).max() <= 3
    requests.delete(server.url(f"/datastore/?id={codes}"), timeout=PATIENCE_S)


def test_strokes_of_one_study_come_back_as_whole_organs(server, cohort, tmp_path):
    strokes = cohort / "scribbles" / f"{CASES[0]}_a.nii.gz"
    truth = np.asarray(nib.load(cohort / "labels" / f"{CASES[0]}.nii.gz").dataobj)
    info = {"label_info": [{"name": name, "idx": value} for name, value in {**ORGANS, OUTSIDE: 7}.items()]}
    grown = infer(server, SUPPORT_MASK, CASES[0], tmp_path, info, strokes)
    assert set(np.unique(grown)) == {0, *ORGANS.values()}
    dice = {name: dice_of(grown == value, truth == value) for name, value in ORGANS.items()}
    assert min(dice.values()) > 0.6, dice  # voxels of 8 mm
    one = infer(server, SUPPORT_MASK, CASES[0], tmp_path, info | {"selected_label_name": "liver"}, strokes)
    assert np.array_equal(one == 1, grown == ORGANS["liver"]) and one.max() == 1
    slicer = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    assert np.array_equal(infer(server, SUPPORT_MASK, CASES[0], tmp_path, info | slicer, strokes, ".nrrd"), grown)
    kidney = {
        "label_info": [{"name": n, "idx": v} for n, v in {"kidney, left": 1, "liver (all)": 4, OUTSIDE: 7}.items()]
    }
    assert np.array_equal(infer(server, SUPPORT_MASK, CASES[0], tmp_path, kidney, strokes), grown), "any name will do"
    (worker,) = workers(server)
    old_name = infer(server, "oneshot_region", CASES[0], tmp_path, info, strokes)
    assert np.array_equal(old_name, grown), "clients of the version before ask for it by this name"
    assert workers(server) == [worker], "no process for each Update"
    assert not (server.app / "work" / LOOKS / CASES[0] / "run" / "report").exists(), "nobody looks at it"


def workers(server):
    """Processes that grow support masks."""
    processes = psutil.Process(server.process.pid).children(recursive=True)
    return [process.pid for process in processes if "bundle.monai_label.masks.grow" in process.cmdline()]


def test_strokes_of_another_grid_are_refused_with_the_reason(server, cohort, tmp_path):
    strokes = nib.load(cohort / "scribbles" / f"{CASES[0]}_a.nii.gz")
    nib.save(strokes.slicer[:-1], tmp_path / "fewer.nii.gz")
    params = {"label_info": [{"name": name, "idx": value} for name, value in {**ORGANS, OUTSIDE: 7}.items()]}
    answer = server.post(
        f"/infer/{SUPPORT_MASK}?image={CASES[0]}&output=image",
        data={"params": json.dumps(params)},
        files={"label": ("fewer.nii.gz", (tmp_path / "fewer.nii.gz").read_bytes())},
    )
    message = answer.json()["detail"]
    assert answer.status_code == 400 and "the strokes do not lie on the study's grid" in message
    assert f"expected: {' x '.join(map(str, strokes.shape))} voxels" in message
    assert f"found: {strokes.shape[0] - 1} x " in message
    label = {"label": ("fewer.nii.gz", (tmp_path / "fewer.nii.gz").read_bytes())}
    answer = requests.put(
        server.url(f"/datastore/label?image={CASES[0]}"), data={"params": json.dumps(params)}, files=label, timeout=60
    )
    assert answer.status_code == 400 and "the label does not lie on the study's grid" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("model", "message"),
    [(SUPPORT_MASK, "no strokes came with the request"), (TRAINED, "no trained network yet: press Train")],
)
def test_what_is_missing_is_said_to_the_client(server, model, message):
    answer = server.post(f"/infer/{model}?image={CASES[0]}&output=image", data={"params": "{}"})
    assert answer.status_code == 400 and message in answer.json()["detail"]


def test_training_without_strokes_is_refused_with_what_is_missing(server):
    for answer in (server.post(f"/train/{TRAINED}", json={}), server.post("/train/", json={})):
        assert answer.status_code == 400 and "no study has strokes" in answer.json()["detail"]
    assert server.get("/train/").status_code == 404


def test_from_strokes_to_labels_of_every_study_and_a_correction_round(server, cohort, tmp_path):
    server.submit(CASES[0], cohort / "scribbles" / f"{CASES[0]}_a.nii.gz", {**ORGANS, OUTSIDE: 7})
    assert server.post(f"/train/{TRAINED}", json={}).status_code == 200
    stats = watched(server)
    begun = [of for of in stats if "epoch" in of]  # the first second of a run has no progress yet
    assert [of["epoch"] for of in begun] == sorted(of["epoch"] for of in begun), "it never goes back"
    assert len({of["epoch"] for of in begun}) > 3 and all(0 <= of["epoch"] < of["total_epochs"] for of in begun)
    assert "best_metric" not in stats[0], "nothing is labelled yet"
    assert any("best_metric" in of for of in stats), "transferred labels come before the end"
    task = server.training()
    assert task["status"] == "DONE", "\n".join(task["details"])
    info = server.get("/info/").json()
    assert info["datastore"]["label_tags"] == {"final": 1, TAG: len(CASES), SHOWN: len(CASES)}
    assert info["models"][TRAINED]["labels"] == ORGANS
    records = {case: server.get(f"/datastore/label/info?label={case}&tag={TAG}").json() for case in CASES}
    assert all(record["final"] for record in records.values())
    assert all(set(records[case]["predicted_dice"]) == set(ORGANS) for case in CASES[1:])
    dice = [value for case in CASES[1:] for value in records[case]["predicted_dice"].values()]
    ended = info["train_stats"][TRAINED]
    assert ended["best_metric"] == pytest.approx(sum(dice) / len(dice), abs=1e-4) and ended["total_time"]
    assert f"Mean predicted Dice {ended['best_metric']:.2f}" in info["models"][TRAINED]["description"]
    report = server.get("/report/")
    assert report.status_code == 200 and "spleen, whole" in report.text
    assert server.get("/report/..%2fcohort.json").status_code == 404
    label = server.get(f"/datastore/label?label={CASES[1]}&tag={TAG}")
    file = tmp_path / "label.nii.gz"
    file.write_bytes(label.content)
    judged = np.asarray(nib.load(file).dataobj)
    assert set(np.unique(judged)) <= {0, *ORGANS.values()}
    assert np.array_equal(infer(server, TRAINED, CASES[1], tmp_path), judged), "the label that was judged, at once"
    as_slicer = infer(server, TRAINED, CASES[1], tmp_path, {"result_extension": ".nrrd"}, suffix=".nrrd")
    assert np.array_equal(as_slicer, judged)
    chosen = server.post("/activelearning/least_trusted", json={}).json()["id"]
    worst = {case: min(quality(server, case).values()) for case in CASES[1:]}
    assert worst[chosen] == min(worst.values())

    server.submit(chosen, cohort / "labels" / f"{chosen}.nii.gz", ORGANS)
    task = server.train_to_the_end()
    assert task["status"] == "DONE", "\n".join(task["details"])
    result = server.get(f"/datastore/label?label={chosen}&tag={TAG}")
    file.write_bytes(result.content)
    truth = np.asarray(nib.load(cohort / "labels" / f"{chosen}.nii.gz").dataobj)
    kept = np.where(np.isin(truth, list(ORGANS.values())), truth, 0)
    assert np.array_equal(np.asarray(nib.load(file).dataobj), kept), "what the user corrected is taken as it is"
    assert server.post("/activelearning/least_trusted", json={}).json()["id"] != chosen


def watched(server):
    """What `/info/` says of a training while it runs."""
    stats = []

    def ended():
        if server.training()["status"] in ("DONE", "ERROR"):
            return True
        stats.append(server.get("/info/").json()["train_stats"][TRAINED])
        return False

    server.wait_for(ended)
    return stats[:-1]


def test_next_sample_shows_the_judged_label_as_3d_slicer_loads_it(server, tmp_path):
    """It takes the names from the label's params in the list of the datastore, in the order of the values."""
    studies = server.get("/datastore/?output=all").json()["objects"]
    for case in CASES:
        shown = studies[case]["labels"][SHOWN]["info"]
        label = server.get(f"/datastore/label?label={case}&tag={SHOWN}").content
        (tmp_path / "shown.nii.gz").write_bytes(label)
        values = [int(value) for value in np.unique(np.asarray(nib.load(tmp_path / "shown.nii.gz").dataobj)) if value]
        assert list(shown["params"]["label_names"].values()) == values
        assert label == server.get(f"/datastore/label?label={case}&tag={TAG}").content
        answer = server.post(f"/infer/{TRAINED}?image={case}&output=json", data={"params": "{}"})
        assert answer.json()["predicted_dice"] == shown["predicted_dice"]
        assert list(answer.json()["label_names"].values()) == values


def test_who_asks_again_skips_a_study(server):
    open_studies = [case for case in CASES if "final" not in labels_of(server, case)]
    offered = [server.post("/activelearning/least_trusted", json={}).json()["id"] for _ in range(2)]
    assert set(offered) == set(open_studies) and len(open_studies) == 2
    time.sleep(1.1)  # MONAI Label notes seconds
    assert server.post("/activelearning/least_trusted", json={}).json()["id"] in open_studies, "from the start again"


def labels_of(server, case):
    return server.get("/datastore/?output=all").json()["objects"][case]["labels"]


def test_the_network_labels_an_image_that_is_no_study_with_the_values_of_the_strokes(server, tmp_path):
    image = (server.studies / f"{CASES[1]}.nii.gz").read_bytes()
    made = requests.put(server.url("/session/"), files={"files": ("x.nii.gz", image)}, timeout=60).json()
    answer = server.post(
        f"/infer/{TRAINED}?image=x&session_id={made['session_id']}&output=image",
        data={"params": json.dumps({"result_extension": ".nii.gz"})},
    )
    assert answer.status_code == 200, answer.text
    (tmp_path / "label.nii.gz").write_bytes(answer.content)
    assert set(np.unique(np.asarray(nib.load(tmp_path / "label.nii.gz").dataobj))) <= {0, *ORGANS.values()}


def test_a_server_killed_in_the_middle_of_training_goes_on(server, cohort, tmp_path):
    strokes = nib.load(cohort / "scribbles" / f"{CASES[0]}_a.nii.gz")
    fewer = np.asarray(strokes.dataobj).copy()
    fewer[tuple(np.argwhere(fewer == ORGANS["liver"])[0])] = 0
    nib.save(nib.Nifti1Image(fewer, strokes.affine), tmp_path / "fewer.nii.gz")
    server.submit(CASES[0], tmp_path / "fewer.nii.gz", {**ORGANS, OUTSIDE: 7})
    assert server.post(f"/train/{TRAINED}", json={}).status_code == 200
    state = server.app / "work" / "run" / "state.json"
    server.wait_for(lambda: not all(entry["done"] for entry in json.loads(state.read_text(encoding="utf-8")).values()))
    server.kill()
    server.start()
    left = server.training()
    assert left["status"] == "STOPPED" and "Press Train: it goes on from there" in left["details"][0]
    assert server.get("/train/?check_if_running=true").status_code == 404
    assert left["details"][0] in server.get("/info/").json()["trainers"][TRAINED]["description"]
    task = server.train_to_the_end()
    assert task["status"] == "DONE", "\n".join(task["details"])
    said = "\n".join((server.app.parent / "server.log").read_text(encoding="utf-8").splitlines())
    assert "embedding: done before" in said
    assert all(entry["done"] for entry in json.loads(state.read_text(encoding="utf-8")).values())
