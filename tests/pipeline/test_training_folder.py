import json
import logging
import re
from dataclasses import replace

import pytest

from bundle.pipeline.configs import CONFIGS
from bundle.pipeline.training_folder import OURS, TrainingFolder
from scripts.common.errors import BundleError
from tests.damage import KINDS, damage

TRAININGS = ("train.json", "train_embedding.json", "train_prnet.json")


def folder_of(path, inputs=1, settings=1):
    return TrainingFolder(path / "net", "net", {"inputs": inputs, "settings": settings})


def train(folder):
    """What a training leaves: two checkpoints besides its results."""
    folder.start()
    (folder.path / "checkpoints").mkdir(exist_ok=True)
    for name in ("model.pt", "model.json", "curve.csv", "flips.json", "checkpoints/epoch_0001.pt"):
        (folder.path / name).write_text(name)
    folder.finish()


@pytest.fixture
def trained(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = folder_of(tmp_path)
    assert folder.clear(finished_before=False)
    assert "net: starting" in caplog.text
    train(folder)
    caplog.clear()
    return folder


def names(folder):
    return sorted(str(file.relative_to(folder.path)) for file in folder.path.rglob("*") if file.is_file())


def test_a_finished_training_is_left_alone(trained):
    before = names(trained)
    assert not trained.clear(finished_before=True)
    results = ["curve.csv", "flips.json", "made_of.json", "model.json", "model.pt"]
    assert names(trained) == before == ["checkpoints/epoch_0001.pt", *results]


def test_the_record_names_size_and_hash_of_each_result(trained):
    record = json.loads((trained.path / "made_of.json").read_text(encoding="utf-8"))
    assert record["done"] is True
    assert {name: facts["bytes"] for name, facts in record["files"].items()} == {
        "model.pt": 8,
        "model.json": 10,
        "curve.csv": 9,
        "flips.json": 10,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"inputs": 2}, "inputs"), ({"settings": 2}, "settings"), ({"inputs": 2, "settings": 2}, "inputs and settings")],
)
def test_other_inputs_or_settings_discard_the_folder_and_say_so(trained, tmp_path, caplog, changes, words):
    assert folder_of(tmp_path, **changes).clear(finished_before=True)
    assert not trained.path.exists()
    assert f"net: its {words} changed since the last run, so it is done again" in caplog.text


def test_inputs_that_were_noted_with_what_is_only_told_are_noted_anew(trained, tmp_path):
    """Else a later change of the words would train the network again."""
    of_today = replace(folder_of(tmp_path, inputs="Dice"), whole_inputs="Dice and words")
    train(folder_of(tmp_path, inputs="Dice and words"))
    assert not of_today.clear(finished_before=True)
    assert not replace(of_today, whole_inputs="Dice and other words").clear(finished_before=True)
    noted_at = (trained.path / "made_of.json").stat().st_mtime_ns
    assert not of_today.clear(finished_before=True)
    assert (trained.path / "made_of.json").stat().st_mtime_ns == noted_at, "once"
    assert replace(of_today, made_of={"inputs": "other Dice", "settings": 1}).clear(finished_before=True)


def test_another_version_trains_again_and_the_first_leaves_what_was_there(trained, tmp_path, caplog):
    record = json.loads((trained.path / "made_of.json").read_text(encoding="utf-8"))
    assert set(record) == {"done", "inputs", "settings", "files", "record"}, "as before there were versions"
    second = replace(trained, version=2)
    assert second.clear(finished_before=True)
    assert "net: its version changed since the last run, so it is done again" in caplog.text
    train(second)
    assert not second.clear(finished_before=True)
    assert folder_of(tmp_path).clear(finished_before=True), "back to the first"


def test_an_unfinished_training_goes_on_with_its_files(trained, caplog):
    trained.start()
    assert trained.clear(finished_before=False)
    assert "net: continuing" in caplog.text
    assert (trained.path / "checkpoints" / "epoch_0001.pt").exists()


def test_settings_changed_while_it_was_unfinished_discard_it(trained, tmp_path):
    trained.start()
    assert folder_of(tmp_path, settings=2).clear(finished_before=False)
    assert not trained.path.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.pt", "model.json"])
def test_a_damaged_network_is_made_again_from_the_last_checkpoint(trained, caplog, name, kind):
    damage(trained.path / name, kind)
    assert trained.clear(finished_before=True)
    assert f"missing or damaged: {name}; made again from the last checkpoint" in caplog.text
    assert names(trained) == ["checkpoints/epoch_0001.pt", "curve.csv", "flips.json", "made_of.json"]


@pytest.mark.parametrize("name", ["curve.csv", "flips.json"])
def test_a_damaged_curve_cannot_be_made_again_from_a_checkpoint(trained, caplog, name):
    damage(trained.path / name, "cut")
    assert trained.clear(finished_before=True)
    assert f"missing or damaged: {name}; trained again" in caplog.text
    assert not trained.path.exists()


def test_what_no_training_left_is_never_removed(trained, tmp_path):
    (trained.path / "notes.txt").write_text("the user's")
    before = names(trained)
    with pytest.raises(BundleError, match="holds something that no training left") as caught:
        folder_of(tmp_path, settings=2).clear(finished_before=True)
    assert caught.value.found == "notes.txt" and names(trained) == before


def test_of_a_folder_that_is_a_link_the_link_goes(trained, tmp_path):
    (tmp_path / "net").rename(tmp_path / "elsewhere")
    (tmp_path / "net").symlink_to(tmp_path / "elsewhere")
    assert folder_of(tmp_path, settings=2).clear(finished_before=True)
    assert (tmp_path / "elsewhere" / "model.pt").exists() and not (tmp_path / "net").is_symlink()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"files": 3}'])
def test_a_damaged_record_is_said_and_training_goes_on_from_checkpoints(trained, caplog, content):
    (trained.path / "made_of.json").write_text(content)
    assert trained.clear(finished_before=True)
    assert "made_of.json is damaged" in caplog.text
    assert (trained.path / "checkpoints" / "epoch_0001.pt").exists()


def test_a_network_that_another_command_trains_is_no_stranger(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "net" / "checkpoints").mkdir(parents=True)
    assert folder_of(tmp_path).clear(finished_before=False)
    assert "net: continuing from what is there" in caplog.text
    assert (tmp_path / "net" / "checkpoints").exists()


def test_results_that_are_gone_are_said(tmp_path, caplog):
    assert folder_of(tmp_path).clear(finished_before=True)
    assert "net: its results are gone, so it is done again" in caplog.text


def test_a_kill_while_old_results_are_removed_leaves_none_that_count(trained, tmp_path, monkeypatch):
    def kill(path, **_):
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr("scripts.common.files.shutil.rmtree", kill)
    with pytest.raises(KeyboardInterrupt):
        folder_of(tmp_path, settings=2).clear(finished_before=True)
    monkeypatch.undo()
    assert trained.clear(finished_before=True), "back to the settings of the removed results"
    assert [path.name for path in tmp_path.iterdir()] == [], "what was half removed is gone"


def test_everything_that_a_training_leaves_is_known():
    texts = [(CONFIGS / name).read_text(encoding="utf-8") for name in sorted(TRAININGS)]
    left = set(re.findall(r"(?:segmentation|embedding|prnet)_dir \+ '/([^'/]+)", " ".join(texts)))
    assert {"checkpoints", "tensorboard", "labels", "curve.csv", "flips.json"} <= left <= OURS
