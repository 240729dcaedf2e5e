"""The whole method on four tiny phantoms through the command line: results, a second run, and runs that were killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.command_line import main
from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.pipeline import pipeline
from scripts.common.files import read_json
from tests.paths import ROOT
from tests.pipeline_fixtures import phantom_settings

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
        *(f"prnet/{name}/{file}" for name in ("coarse", "fine") for file in ("model.pt", "model.json", "curve.csv")),
        *(f"propagation/{case}{end}" for case in CASES for end in (".json", "_scribbles.nii.gz")),
        *(f"pseudo_labels/{case}{end}" for case in CASES for end in (".json", ".nii.gz")),
        *(f"segmentation/{file}" for file in ("model.pt", "model.json", "curve.csv", "flips.json")),
        *(f"predictions/{case}.nii.gz" for case in CASES),
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
    stages = ["prnet_coarse", "prnet_fine", "propagation", "pseudo_labels", "segmentation", "inference"]
    assert list(state) == stages
    assert all(entry["done"] and entry["seconds"] > 0 and entry["peak_memory_mb"] < 8000 for entry in state.values())


def test_second_run_redoes_nothing(cohort, finished, monkeypatch):
    before = stamps(finished, "report", "run.json")

    def refuse(*_):
        raise AssertionError("a stage ran again")

    monkeypatch.setattr(pipeline, "run_config", refuse)
    main(oneshot(cohort, finished))
    assert stamps(finished, "report", "run.json") == before


def killed(place, command):
    """Run the command in a process of its own until it is killed at `place`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "tests.killed_run", place, *command]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stdout[-2000:] + done.stderr[-2000:]


def test_killed_runs_end_with_the_same_results(cohort, finished, tmp_path, caplog):
    command = oneshot(cohort, tmp_path / "out")
    for place, there, not_there in (
        ("prnet", "prnet/coarse/checkpoints/epoch_0001.pt", "prnet/coarse/model.pt"),
        ("propagation", "propagation/phantom_01.json", "propagation/phantom_02.json"),
        (
            "segmentation",
            "segmentation/labels/round_002/phantom_00.nii.gz",
            "segmentation/labels/round_002/manifest.json",
        ),
        ("checkpoint", "segmentation/labels/round_003/manifest.json", "segmentation/checkpoints/epoch_0003.pt"),
    ):
        killed(place, command)
        assert (tmp_path / "out" / there).exists(), place
        assert not (tmp_path / "out" / not_there).exists(), place
    caplog.set_level(logging.INFO)
    main(command)
    assert caplog.text.count("done before") == 4
    assert "segmentation: continuing" in caplog.text
    same_results(tmp_path / "out", finished)


def same_results(folder, other):
    for name in ("prnet/coarse", "prnet/fine", "segmentation"):
        ours, theirs = (torch.load(root / name / "model.pt", weights_only=True) for root in (folder, other))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    for case in CASES:
        ours, theirs = (read_json(root / "propagation" / f"{case}.json") for root in (folder, other))
        assert ours["points"] == theirs["points"]
        for name in (f"propagation/{case}_scribbles", f"pseudo_labels/{case}", f"predictions/{case}"):
            assert array(folder / f"{name}.nii.gz").tobytes() == array(other / f"{name}.nii.gz").tobytes(), name
    assert read_json(folder / "segmentation" / "flips.json") == read_json(other / "segmentation" / "flips.json")


def test_damaged_checkpoint_falls_back_says_so_and_ends_the_same(cohort, finished, tmp_path, caplog):
    command = oneshot(cohort, tmp_path / "out")
    killed("checkpoint", command)
    newest = tmp_path / "out" / "segmentation" / "checkpoints" / "epoch_0002.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    main(command)
    assert "epoch_0002.pt is damaged" in caplog.text
    assert "using the one before it" in caplog.text
    same_results(tmp_path / "out", finished)


def test_propagate_and_train_do_what_oneshot_did(cohort, finished, tmp_path):
    output = tmp_path / "out"
    settings = [*settings_options(), "--weights", str(finished / "prnet")]
    main(["propagate", *input_options(cohort), *settings, "--output", str(output)])
    assert not (output / "segmentation").exists()
    main(["train", "--output", str(output)])
    for case in CASES:
        for name in (f"pseudo_labels/{case}.nii.gz", f"predictions/{case}.nii.gz"):
            assert np.array_equal(array(output / name), array(finished / name)), name


def test_infer_and_evaluate(cohort, finished, tmp_path, capsys):
    command = ["infer", "--images", str(cohort / "images"), "--model", str(finished / "segmentation")]
    command += ["--output", str(tmp_path / "maps")]
    main(command)
    for case in CASES:
        assert np.array_equal(
            array(tmp_path / "maps" / f"{case}.nii.gz"), array(finished / "predictions" / f"{case}.nii.gz")
        )
    before = stamps(tmp_path / "maps")
    main(command)
    assert stamps(tmp_path / "maps") == before, "label maps it made are kept"
    record = tmp_path / "maps" / "made_of.json"
    record.write_text(record.read_text(encoding="utf-8").replace("model.pt", "other.pt"))
    main(command)
    changed = {name for name, stamp in stamps(tmp_path / "maps").items() if stamp != before[name]}
    assert changed == set(before), "those of another network are made again"
    folders = ["--predictions", str(tmp_path / "maps"), "--labels", str(cohort / "labels")]
    main(["evaluate", *folders, "--classes", "spleen:1,liver:4", "--json", str(tmp_path / "scores.json")])
    assert "4 cases" in capsys.readouterr().out
    scores = read_json(tmp_path / "scores.json")
    assert set(scores["cases"]) == set(CASES)
    assert set(scores["classes"]) == set(CLASSES)
