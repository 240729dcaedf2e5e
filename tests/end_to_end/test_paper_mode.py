"""The whole method on four tiny phantoms through the command line: results, a second run, and runs that were killed."""

from __future__ import annotations

import json
import logging
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.command_line import main
from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.pipeline.training_folder import NETWORK
from scripts.common.files import read_json
from tests.damage import KINDS, damage, damage_share
from tests.killed_run import killed
from tests.pipeline_fixtures import phantom_settings
from tests.same_results import differing, written_after

pytestmark = pytest.mark.slow

CASES = [f"phantom_{number:02d}" for number in range(4)]
CLASSES = {"spleen": 1, "liver": 4}


def input_options(cohort):
    return [
        *("--images", str(cohort / "images"), "--support", str(cohort / "images" / "phantom_00.nii.gz")),
        *("--scribbles", str(cohort / "scribbles" / "phantom_00_a.nii.gz")),
        *("--classes", "spleen:1,liver:4", "--background", "7", "--small"),
        *("--mode", "paper"),
    ]


def settings_options():
    pairs = [(stage, key, value) for stage, keys in phantom_settings().items() for key, value in keys.items()]
    return [part for stage, key, value in pairs for part in ("--set", f"{stage}.{key}={json.dumps(value)}")]


def oneshot(cohort, output):
    return ["oneshot", *input_options(cohort), *settings_options(), "--output", str(output)]


def array(path):
    return np.asarray(nib.load(path).dataobj)


def stamps(folder, *but):
    """Time of every file's last change, but for some folders."""
    files = (path for path in folder.rglob("*") if path.is_file())
    relative = ((path.relative_to(folder), path) for path in files)
    return {str(name): path.stat().st_mtime_ns for name, path in relative if name.parts[0] not in but}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort") / "phantoms", 4, 0, spacing_mm=(8.0, 8.0, 10.0))


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """An output folder of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    main(oneshot(cohort, output))
    return output


def test_everything_the_contract_names_is_there(finished):
    expected = [
        *("cohort.json", "run.json", "state.json", "report/index.html"),
        *(
            f"prnet/{name}/{file}"
            for name in ("coarse", "fine")
            for file in ("model.pt", "model.json", "curve.csv", "made_of.json")
        ),
        *(f"propagation/{case}{end}" for case in CASES for end in (".json", "_scribbles.nii.gz")),
        *(f"pseudo_labels/{case}{end}" for case in CASES for end in (".json", ".nii.gz")),
        *(f"segmentation/{file}" for file in ("model.pt", "model.json", "curve.csv", "flips.json")),
        *(f"predictions/{case}{end}" for case in CASES for end in (".json", ".nii.gz")),
    ]
    assert [name for name in expected if not (finished / name).is_file()] == []
    left = [str(path) for path in finished.rglob(".*")]
    assert left == [], "temporary files"


@pytest.mark.parametrize("folder", ["pseudo_labels", "predictions"])
def test_label_maps_lie_on_their_images_and_have_the_classes_own_values(cohort, finished, folder):
    values = set()
    for case in CASES:
        image, label = nib.load(cohort / "images" / f"{case}.nii.gz"), nib.load(finished / folder / f"{case}.nii.gz")
        assert label.affine.tobytes() == image.affine.tobytes()
        assert label.shape == image.shape
        assert label.get_data_dtype() == np.uint8
        values |= set(np.unique(label.dataobj).tolist())
    assert values <= {0, 1, 4}
    assert {0, 4} <= values


def test_weights_are_flat_and_have_a_card(finished):
    for folder in ("prnet/coarse", "prnet/fine", "segmentation"):
        weights = torch.load(finished / folder / "model.pt", weights_only=True)
        assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert read_json(finished / "segmentation" / "model.json")["classes"] == CLASSES
    card = read_json(finished / "prnet" / "coarse" / "model.json")
    assert len(card["validation_cases"]) == 1
    assert "phantom_00" in card["training_cases"], "the support is trained on"


def test_report_shows_every_case(finished):
    page = (finished / "report" / "index.html").read_text(encoding="utf-8")
    assert [case for case in CASES if case not in page] == []


def test_every_stage_was_timed(finished):
    state = read_json(finished / "state.json")
    points = ["prnet_coarse", "prnet_fine", "first_points", "point_propagation"]
    stages = [*points, "pseudo_labels", "segmentation", "inference"]
    assert list(state) == stages
    assert all(entry["done"] and entry["seconds"] > 0 and entry["peak_memory_mb"] < 8000 for entry in state.values())


def test_second_run_redoes_nothing(cohort, finished, caplog):
    before = stamps(finished, "report", "run.json", "state.json", "progress.json")
    state = read_json(finished / "state.json")
    caplog.set_level(logging.INFO)
    main(oneshot(cohort, finished))
    assert stamps(finished, "report", "run.json", "state.json", "progress.json") == before
    assert caplog.text.count("done before") == len(state)
    assert read_json(finished / "state.json") == state


def test_killed_runs_end_with_the_same_results(cohort, finished, tmp_path, caplog):
    command, output = oneshot(cohort, tmp_path / "out"), tmp_path / "out"
    places = [
        # Epoch 2 was trained, but neither its curve nor its checkpoint is there.
        "prnet/coarse/curve.csv@2",
        # Two of four cases are done.
        "propagation/phantom_02.json",
        # The corrected labels of epoch 2 are written, but their manifest is not, and there is no checkpoint.
        "segmentation/labels/round_002/manifest.json",
        # The last epoch's labels are complete, but its checkpoint is missing.
        "segmentation/checkpoints/epoch_0003.pt",
    ]
    killed(places, command)
    assert (output / "segmentation/labels/round_003/manifest.json").exists()
    assert not (output / "segmentation/model.pt").exists()
    caplog.set_level(logging.INFO)
    main(command)
    assert caplog.text.count("done before") == 5
    assert "segmentation: continuing" in caplog.text
    assert differing(output, finished) == []


def test_damaged_checkpoint_falls_back_says_so_and_ends_the_same(cohort, finished, tmp_path, caplog):
    command = oneshot(cohort, tmp_path / "out")
    killed(["segmentation/checkpoints/epoch_0003.pt"], command)
    damage(tmp_path / "out" / "segmentation" / "checkpoints" / "epoch_0002.pt", "cut")
    main(command)
    assert "epoch_0002.pt is damaged" in caplog.text
    assert "using the one before it" in caplog.text
    assert differing(tmp_path / "out", finished) == []


def test_damaged_results_are_made_again_and_nothing_else(cohort, finished, tmp_path):
    output = shutil.copytree(finished, tmp_path / "out")
    damaged = {
        "prnet/coarse/model.pt": "changed",
        "prnet/fine/model.json": "missing",
        "segmentation/model.pt": "cut",
        "predictions/phantom_01.nii.gz": "changed",
        "predictions/phantom_02.json": "cut",
    }
    for name, kind in damaged.items():
        damage(output / name, kind)
    time.sleep(1.1)  # what is damaged was touched a second later than it is
    start_ns = time.time_ns()
    main(oneshot(cohort, output))
    assert differing(output, finished) == []
    # A network is made again with its card, a label map with its record.
    again = {f"{folder}/{file}" for folder in ("prnet/coarse", "prnet/fine", "segmentation") for file in NETWORK}
    again |= {f"predictions/{case}{end}" for case in ("phantom_01", "phantom_02") for end in (".nii.gz", ".json")}
    assert written_after(output, start_ns) == again


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_whatever_is_damaged_ends_with_the_same_results(cohort, finished, tmp_path, number):
    output = shutil.copytree(finished, tmp_path / "out")
    damage_share(output, number)
    main(oneshot(cohort, output))
    shutil.rmtree(output / "segmentation" / "labels", ignore_errors=True)  # of no use to a training that is done
    assert [name for name in differing(output, finished) if not name.startswith("segmentation/labels")] == []


def test_propagate_and_train_do_what_oneshot_did(cohort, finished, tmp_path):
    output = tmp_path / "out"
    settings = [*settings_options(), "--weights", str(finished / "prnet")]
    main(["propagate", *input_options(cohort), *settings, "--output", str(output)])
    assert not (output / "segmentation").exists()
    main(["train", "--output", str(output)])
    for case in CASES:
        for name in (f"pseudo_labels/{case}.nii.gz", f"predictions/{case}.nii.gz"):
            assert np.array_equal(array(output / name), array(finished / name)), name


def other_network(folder, other):
    """The same network but for one of its biases."""
    shutil.copytree(folder, other)
    weights = torch.load(other / "model.pt", weights_only=True)
    weights[next(key for key in weights if key.endswith("bias"))] += 1e-3
    torch.save(weights, other / "model.pt")
    return other


def test_infer_and_evaluate(cohort, finished, tmp_path, capsys):
    command = ["infer", "--images", str(cohort / "images"), "--model", str(finished / "segmentation")]
    command += ["--output", str(tmp_path / "maps")]
    main(command)
    for case in CASES:
        assert np.array_equal(
            array(tmp_path / "maps" / f"{case}.nii.gz"), array(finished / "predictions" / f"{case}.nii.gz")
        )
    before = stamps(tmp_path / "maps", "progress.json")
    main(command)
    assert stamps(tmp_path / "maps", "progress.json") == before, "label maps it made are kept"
    command[command.index("--model") + 1] = str(other_network(finished / "segmentation", tmp_path / "other"))
    main(command)
    changed = {name for name, stamp in stamps(tmp_path / "maps", "progress.json").items() if stamp != before[name]}
    assert changed == set(before) - {"verdicts"}, "those of another network are made again"
    folders = ["--predictions", str(tmp_path / "maps"), "--labels", str(cohort / "labels")]
    main(["evaluate", *folders, "--classes", "spleen:1,liver:4", "--json", str(tmp_path / "scores.json")])
    assert "4 cases" in capsys.readouterr().out
    scores = read_json(tmp_path / "scores.json")
    assert set(scores["cases"]) == set(CASES)
    assert set(scores["classes"]) == set(CLASSES)
