"""train_prnet.json as it ships, made tiny by overrides."""

import csv
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from scripts.common.errors import BundleError
from scripts.data.cohort import load_cohort
from scripts.networks.prnet_weights import load_prnet
from scripts.point_propagation.patch_pairs import PatchPairsd
from scripts.point_propagation.relative_position import RelativePositionLoss
from tests.paths import ROOT
from tests.prnet_fixtures import PATCH_SIZE, SPACING_MM, TINY, make_cohort, write_images


@pytest.fixture(autouse=True)
def _in_bundle_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("cohort") / "images", count=3)


@pytest.fixture(scope="module")
def straight(images, tmp_path_factory):
    """The weights and the folder of three epochs without a break."""
    output = tmp_path_factory.mktemp("straight")
    return train(images, output), output


def workflow(images, output, fine=False, **override):
    names = ["train_prnet.json", *(["train_prnet_fine.json"] if fine else [])]
    config = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / name) for name in names],
        logging_file=False,
        workflow_type=None,
        bundle_root=str(ROOT),
        dataset_dir=str(images),
        output_dir=str(output),
        **{**TINY, **override},
    )
    config.initialize()
    return config


def train(images, output, fine=False, **override):
    config = workflow(images, output, fine, **override)
    config.run()
    config.finalize()
    return weights_of(output, "fine" if fine else "coarse")


def weights_of(output, name="coarse"):
    return torch.load(output / "prnet" / name / "model.pt", weights_only=True)


def assert_equal(weights, expected):
    assert weights.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


def curve_of(output, name="coarse"):
    with (output / "prnet" / name / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def problem(images, output, **override):
    """The message of the BundleError behind what MONAI raises."""
    with pytest.raises(RuntimeError) as caught:
        train(images, output, **override)
    error = caught.value
    while not isinstance(error, BundleError):
        error = error.__cause__
    return str(error)


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_files_of_a_training(straight):
    _, output = straight
    trained = load_prnet(output / "prnet" / "coarse", SPACING_MM, PATCH_SIZE)
    assert trained.max_offset_mm == (200.0, 200.0, 200.0)
    card = json.loads((output / "prnet" / "coarse" / "model.json").read_text(encoding="utf-8"))
    assert (card["kind"], card["name"], card["max_epochs"], card["box_mm"]) == ("prnet", "coarse", 3, None)
    assert card["training_cases"] == ["case_0", "case_2"] and card["validation_cases"] == ["case_1"]
    rows = curve_of(output)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["train_loss"]) > 0 and float(row["val_offset_error_mm"]) > 0 for row in rows)
    checkpoints = sorted(path.name for path in (output / "prnet" / "coarse" / "checkpoints").iterdir())
    assert checkpoints == ["epoch_0002.pt", "epoch_0003.pt"]


def test_training_changes_the_weights(straight, images, tmp_path):
    initial = workflow(images, tmp_path).parser.get_parsed_content("network").state_dict()
    unchanged = [name for name, value in straight[0].items() if torch.equal(value, initial[name])]
    assert [name for name in unchanged if name.endswith("weight")] == []


def test_the_same_seed_gives_the_same_weights(straight, images, tmp_path):
    assert_equal(train(images, tmp_path), straight[0])


def test_stopped_between_epochs_and_resumed(straight, images, tmp_path):
    train(images, tmp_path, max_epochs=1)
    assert_equal(train(images, tmp_path), straight[0])
    assert without_seconds(curve_of(tmp_path)) == without_seconds(curve_of(straight[1]))


def kill_in_epoch_2(monkeypatch, images, output, **override):
    """Train until the second iteration of epoch 2, which is killed."""
    calls = []
    forward = RelativePositionLoss.forward

    def killed(self, predicted, target):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, predicted, target)

    with monkeypatch.context() as patch:
        patch.setattr(RelativePositionLoss, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            train(images, output, **override)
    assert not (output / "prnet" / "coarse" / "model.pt").exists()


def test_killed_within_an_epoch_and_resumed(straight, images, tmp_path, monkeypatch):
    kill_in_epoch_2(monkeypatch, images, tmp_path)
    assert [row["epoch"] for row in curve_of(tmp_path)] == ["1"]
    assert_equal(train(images, tmp_path), straight[0])
    assert without_seconds(curve_of(tmp_path)) == without_seconds(curve_of(straight[1]))


def test_the_schedule_of_the_small_configuration_resumes_too(images, tmp_path, monkeypatch):
    small = json.loads((ROOT / "configs" / "small" / "train_prnet.json").read_text(encoding="utf-8"))
    schedule = {key: small[key] for key in ("lr_scheduler",) if key in small}
    expected = train(images, tmp_path / "straight", **schedule)
    kill_in_epoch_2(monkeypatch, images, tmp_path / "killed", **schedule)
    assert_equal(train(images, tmp_path / "killed", **schedule), expected)


def test_pooled_network_trains(images, tmp_path):
    train(images, tmp_path, patch_size=[64, 32, 32], pooling=2, max_epochs=1, validation_count=0)
    assert load_prnet(tmp_path / "prnet" / "coarse").network.pool.kernel_size == 2


def test_damaged_checkpoint_still_gives_the_same_weights(straight, images, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("scripts.training.checkpointing"), "disabled", False)
    train(images, tmp_path, max_epochs=2)
    (tmp_path / "prnet" / "coarse" / "checkpoints" / "epoch_0002.pt").write_bytes(b"damaged")
    assert_equal(train(images, tmp_path), straight[0])
    assert any("epoch_0002.pt is damaged" in message for message in caplog.messages)


def test_a_finished_training_gives_its_weights_again(straight, images, tmp_path):
    train(images, tmp_path)
    (tmp_path / "prnet" / "coarse" / "model.pt").unlink()
    assert_equal(train(images, tmp_path), straight[0])


def test_checkpoints_of_another_width(images, tmp_path):
    train(images, tmp_path, max_epochs=1)
    assert "the checkpoint is of another network or other settings" in problem(images, tmp_path, width=4)


def test_fine_network_learns_from_pairs_in_a_box(images, tmp_path):
    config = workflow(images, tmp_path, fine=True, max_epochs=1, max_offset_mm=[100.0] * 3)
    transform = config.parser.get_parsed_content("train#preprocessing").transforms[-1]
    assert isinstance(transform, PatchPairsd) and transform.box_mm == (60.0, 60.0, 60.0)
    config.run()
    card = json.loads((tmp_path / "prnet" / "fine" / "model.json").read_text(encoding="utf-8"))
    assert (card["name"], card["box_mm"], card["max_offset_mm"]) == ("fine", [60.0] * 3, [100.0] * 3)
    for case in card["training_cases"]:
        item = {key: torch.zeros(1, 8, 8, 8) for key in ("image", "body")}
        assert np.all(np.abs(transform({**item, "case": case})[0]["offset_mm"].numpy()) <= 60)


def test_without_validation_cases(images, tmp_path):
    train(images, tmp_path, validation_count=0, max_epochs=1)
    (row,) = curve_of(tmp_path)
    assert set(row) == {"epoch", "seconds", "train_loss"}


def test_epochs_without_validation_have_no_error(images, tmp_path):
    train(images, tmp_path, val_interval=2)
    assert [bool(row["val_offset_error_mm"]) for row in curve_of(tmp_path)] == [False, True, False]


def test_support_and_scribbles_survive_a_training_in_their_work_directory(tmp_path):
    cohort = make_cohort(tmp_path, count=3)
    train(tmp_path / "images", tmp_path / "work", max_epochs=1)
    assert load_cohort(tmp_path / "work") == cohort


def test_too_many_validation_cases(images, tmp_path):
    message = problem(images, tmp_path, validation_count=3)
    assert "the number of validation cases does not fit" in message and "expected: 0 to 2" in message


def test_a_checkpoint_of_another_field_of_view_is_refused(images, tmp_path):
    train(images, tmp_path, max_epochs=1)
    assert "pooling" in problem(images, tmp_path, max_epochs=2, pooling=2, patch_size=[64, 32, 32])


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path, images):
    def launch(max_epochs):
        overrides = {**TINY, "max_epochs": max_epochs, "dataset_dir": str(images), "output_dir": str(tmp_path)}
        del overrides["device"]
        arguments = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
        files = "['configs/train_prnet.json','configs/multi_gpu/train_prnet.json']"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += ["-m", "monai.bundle", "run", "--config_file", files, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]

    folder = tmp_path / "prnet" / "coarse"
    launch(1)
    load_prnet(folder, SPACING_MM, PATCH_SIZE)
    first = torch.load(folder / "checkpoints" / "epoch_0001.pt", weights_only=True)
    assert first["iteration"] == 1, "two processes share the epoch's two iterations"
    assert not any(name.startswith("module.") for name in first["network"])
    launch(2)
    assert [row["epoch"] for row in curve_of(tmp_path)] == ["1", "2"]
    second = torch.load(folder / "checkpoints" / "epoch_0002.pt", weights_only=True)
    assert (second["epoch"], second["iteration"]) == (2, 2)
    assert second["optimizer"]["state"][0]["step"] == 2, "the optimizer was resumed"
    assert_equal(weights_of(tmp_path), second["network"])
    assert not torch.equal(second["network"]["position_head.0.weight"], first["network"]["position_head.0.weight"])
