import json
import logging

import pytest
import torch
from ignite.engine import Engine, Events
from monai.optimizers import WarmupCosineSchedule
from torch.optim.lr_scheduler import PolynomialLR, StepLR
from torch.utils.data import DataLoader

from scripts.common.errors import BundleError
from scripts.training import checkpointing
from scripts.training.checkpointing import ResumableCheckpoint, checkpoint_files


@pytest.fixture(autouse=True)
def _hear_the_log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("scripts.training.checkpointing"), "disabled", False)
    caplog.set_level(logging.INFO, logger="scripts.training.checkpointing")


def train(folder, epochs, features=2, stop_in_epoch=None, **settings):
    """Two iterations per epoch of a linear layer; the data depend on the iteration alone. Returns its weights."""
    torch.manual_seed(0)
    network = torch.nn.Linear(features, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    def step(engine, _):
        if engine.state.epoch == stop_in_epoch and engine.state.iteration % 2 == 0:
            raise KeyboardInterrupt
        loss = (network(torch.full((1, features), float(engine.state.iteration))) - 3).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    engine = Engine(step)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: schedule.step())
    objects = {"network": network, "optimizer": optimizer, "lr_scheduler": schedule}
    ResumableCheckpoint(folder, objects, **settings).attach(engine)
    engine.run(range(2), max_epochs=epochs)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def names(folder):
    return [path.name for path in checkpoint_files(folder)]


def test_resumed_equals_straight(tmp_path):
    straight = train(tmp_path / "straight", 5)
    train(tmp_path / "early", 2)
    assert torch.equal(train(tmp_path / "early", 5), straight)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", 5, stop_in_epoch=4)
    assert names(tmp_path / "killed")[-1] == "epoch_0003.pt"
    assert torch.equal(train(tmp_path / "killed", 5), straight)


def test_epochs_of_fewer_iterations_are_trained_all_the_same(tmp_path):
    """As where one process goes on as two: after 3 epochs of 4 iterations, 5 epochs of 2 looked done."""
    epochs = []

    def run(iterations, last):
        engine = Engine(lambda engine, _: epochs.append(engine.state.epoch))
        ResumableCheckpoint(tmp_path, {"network": torch.nn.Linear(1, 1)}).attach(engine)
        engine.run(range(iterations), max_epochs=last)

    run(4, 3)
    run(2, 5)
    assert epochs == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2 + [5] * 2
    assert torch.load(tmp_path / "epoch_0005.pt", weights_only=True)["iteration"] == 10


def test_a_finished_training_is_only_loaded_and_says_so(tmp_path, caplog):
    weights = train(tmp_path, 3)
    before = (tmp_path / "epoch_0003.pt").stat().st_mtime_ns
    assert not any("nothing is trained" in message for message in caplog.messages)
    assert torch.equal(train(tmp_path, 3), weights)
    assert (tmp_path / "epoch_0003.pt").stat().st_mtime_ns == before
    said = "that was the last epoch, so nothing is trained; to train anew, on other data, delete"
    assert f"{said} {tmp_path}" in caplog.messages


def test_a_longer_training_is_none_of_fewer_epochs(tmp_path):
    """Its card would say that the network was trained for 2 epochs."""
    train(tmp_path, 3)
    with pytest.raises(BundleError, match="the checkpoint is of another network or other settings") as caught:
        train(tmp_path, 2)
    assert caught.value.found == "epoch 3 of at most 2"


def test_keep_and_interval(tmp_path):
    train(tmp_path / "two", 5)
    assert names(tmp_path / "two") == ["epoch_0004.pt", "epoch_0005.pt"]
    train(tmp_path / "one", 5, keep=1)
    assert names(tmp_path / "one") == ["epoch_0005.pt"]
    train(tmp_path / "interval", 5, save_interval=2, keep=9)  # the last epoch is always saved
    assert names(tmp_path / "interval") == ["epoch_0002.pt", "epoch_0004.pt", "epoch_0005.pt"]


@pytest.mark.parametrize("damage", [b"", b"damaged", None])
def test_damaged_checkpoint_falls_back(tmp_path, caplog, damage):
    straight = train(tmp_path, 4)
    newest = tmp_path / "epoch_0004.pt"
    newest.write_bytes(newest.read_bytes()[:-200] if damage is None else damage)
    assert torch.equal(train(tmp_path, 4), straight)
    assert any("epoch_0004.pt is damaged" in message for message in caplog.messages)
    assert any("resuming from" in message and "after epoch 3" in message for message in caplog.messages)
    assert torch.load(newest, weights_only=True)["epoch"] == 4, "the damaged one was written again"


def test_checkpoint_without_an_object_falls_back(tmp_path, caplog):
    straight = train(tmp_path, 3)
    content = torch.load(tmp_path / "epoch_0003.pt", weights_only=True)
    del content["optimizer"]
    torch.save(content, tmp_path / "epoch_0003.pt")
    assert torch.equal(train(tmp_path, 3), straight)
    assert any("lacks ['optimizer']" in message for message in caplog.messages)


def test_all_damaged_starts_anew(tmp_path):
    straight = train(tmp_path, 2)
    for path in checkpoint_files(tmp_path):
        path.write_bytes(b"damaged")
    assert torch.equal(train(tmp_path, 2), straight)


def test_content_loads_safely(tmp_path):
    train(tmp_path, 1)
    content = torch.load(tmp_path / "epoch_0001.pt", weights_only=True)
    assert set(content) == {"network", "optimizer", "lr_scheduler", "epoch", "iteration", "settings", "data", "history"}
    assert (content["epoch"], content["iteration"]) == (1, 2)


def test_a_failed_save_leaves_the_older_checkpoints(tmp_path, monkeypatch):
    train(tmp_path, 2)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing.torch, "save", fail)
    with pytest.raises(BundleError, match="No space left on device"):
        train(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0001.pt", "epoch_0002.pt"]


def test_checkpoint_of_another_network(tmp_path):
    train(tmp_path, 1)
    with pytest.raises(BundleError, match="the checkpoint is of another network or other settings") as caught:
        train(tmp_path, 2, features=3)
    assert caught.value.file.endswith("epoch_0001.pt") and str(tmp_path) in caught.value.expected


def test_checkpoint_of_other_settings(tmp_path):
    """Weights that fit by chance: a network for another spacing has the same shapes."""
    train(tmp_path, 1, settings={"spacing_mm": (4, 4, 4), "width": 8})
    train(tmp_path, 2, settings={"spacing_mm": [4, 4, 4], "width": 8})
    with pytest.raises(BundleError, match="the checkpoint is of another network or other settings") as caught:
        train(tmp_path, 3, settings={"spacing_mm": (3, 3, 3), "width": 8})
    assert caught.value.found == "spacing_mm [4, 4, 4], now [3, 3, 3]"
    train(tmp_path, 3)
    assert names(tmp_path)[-1] == "epoch_0003.pt", "without settings nothing is compared"


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        (lambda of, rate, end: PolynomialLR(of(rate), total_iters=end), "total_iters 2, now 4"),
        (lambda of, rate, end: WarmupCosineSchedule(of(rate), warmup_steps=1, t_total=end), "t_total 2, now 4"),
        (lambda of, rate, end: StepLR(of(rate), step_size=1), None),
    ],
)
def test_a_schedule_is_not_replaced_by_that_of_the_checkpoint(tmp_path, schedule, found):
    """A finished training of two epochs that is to have four went on for two at a rate of 0, or of a cosine upwards."""

    def of(rate):
        return torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), lr=rate)

    def resume(rate, end):
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path, {"lr_scheduler": schedule(of, rate, end)}).attach(engine)
        engine.run(range(1), max_epochs=end)

    resume(0.5, 2)
    with pytest.raises(BundleError, match="the checkpoint is of another network or other settings") as caught:
        resume(0.25, 2)
    assert caught.value.found == "lr_scheduler: base_lrs [0.5], now [0.25]"
    if found is None:
        resume(0.5, 4)
    else:
        with pytest.raises(BundleError, match="the checkpoint is of another network or other settings") as caught:
            resume(0.5, 4)
        assert caught.value.found == f"lr_scheduler: {found}"


class Cases(list):
    """A dataset that knows its items, as MONAI's do."""

    @property
    def data(self):
        return list(self)


def learn(folder, items, epochs):
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(folder / "checkpoints", {"network": torch.nn.Linear(1, 1)}).attach(engine)
    engine.run(DataLoader(Cases(items), collate_fn=list), max_epochs=epochs)


@pytest.fixture
def items(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.nii.gz").write_text(f"label of {name}", encoding="utf-8")
    return [{"image": "i", "case": name, "label": str(tmp_path / f"{name}.nii.gz")} for name in "abc"]


def test_a_checkpoint_of_other_cases_or_label_maps_is_gone_on_from_with_a_warning(tmp_path, items, caplog):
    learn(tmp_path, items[:2], 1)
    (tmp_path / "b.nii.gz").write_text("another label", encoding="utf-8")
    caplog.clear()
    learn(tmp_path, items[1:], 2)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    said = "cases that came: c; cases that are gone: a; other label maps: b"
    assert warning == (
        f"the checkpoints are of other data: {said}; to train anew on those of now, delete {tmp_path / 'checkpoints'}"
    )


def test_a_checkpoint_of_other_images_is_gone_on_from_with_a_warning(tmp_path, items, caplog):
    def of(*images):
        return [{**item, "image_sha256": image} for item, image in zip(items, images, strict=True)]

    learn(tmp_path, of("1", "2", "3"), 1)
    learn(tmp_path, of("1", "2", "3"), 2)
    assert "WARNING" not in caplog.text
    learn(tmp_path, of("1", "4", "3"), 3)
    assert "the checkpoints are of other data: other images: b;" in caplog.text


def test_a_checkpoint_that_does_not_say_its_images_is_compared_by_its_label_maps(tmp_path, items, caplog):
    """Those of earlier versions."""
    learn(tmp_path, items, 1)
    file = tmp_path / "checkpoints" / "epoch_0001.pt"
    content = torch.load(file, weights_only=True)
    marks = {case: mark["label"] for case, mark in json.loads(content["data"]).items()}
    torch.save({**content, "data": json.dumps({**marks, "b": "another"})}, file)
    caplog.clear()
    learn(tmp_path, [{**item, "image_sha256": "1"} for item in items], 2)
    assert "the checkpoints are of other data: other label maps: b;" in caplog.text


@pytest.mark.parametrize("changes", [{}, {"not_located": []}, {"not_located": ["liver"]}])
def test_a_class_that_counts_no_more_is_another_label_map(tmp_path, items, caplog, changes):
    learn(tmp_path, items, 1)
    caplog.clear()
    learn(tmp_path, [{**item, **changes} for item in items], 2)
    assert ("other label maps: a, b, c;" in caplog.text) == (changes.get("not_located") == ["liver"])
    assert ("WARNING" in caplog.text) == ("liver" in str(changes))


def test_a_checkpoint_that_does_not_say_its_data_is_gone_on_from(tmp_path, items, caplog):
    """Those of earlier versions."""
    learn(tmp_path, items[:1], 1)
    file = tmp_path / "checkpoints" / "epoch_0001.pt"
    content = torch.load(file, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "data"}, file)
    caplog.clear()
    learn(tmp_path, items, 2)
    assert "WARNING" not in caplog.text and names(tmp_path / "checkpoints")[-1] == "epoch_0002.pt"


def test_only_rank_0_writes_and_all_ranks_resume(tmp_path, monkeypatch):
    train(tmp_path / "shared", 2)
    straight = train(tmp_path / "straight", 3)
    monkeypatch.setattr(checkpointing, "rank_and_world", lambda: (1, 2))
    assert torch.equal(train(tmp_path / "shared", 3), straight)
    assert names(tmp_path / "shared") == ["epoch_0001.pt", "epoch_0002.pt"]


def test_other_files_are_no_checkpoints(tmp_path):
    for name in ("epoch_0002.pt", "epoch_0001.pt", ".writing-7-epoch_0003.pt", "epoch_last.pt"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0002.pt"]
    assert checkpoint_files(tmp_path / "missing") == []


def test_the_epoch_counts_and_not_the_name(tmp_path):
    """Of five digits, names are sorted otherwise than epochs: the newest checkpoint was removed as the oldest."""
    for epoch in (10000, 9999, 9998):
        (tmp_path / f"epoch_{epoch:04d}.pt").touch()
    assert names(tmp_path) == ["epoch_9998.pt", "epoch_9999.pt", "epoch_10000.pt"]
