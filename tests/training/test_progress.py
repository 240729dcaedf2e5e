import csv
import logging

import pytest
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from scripts.common.case_stage import listening
from scripts.common.errors import BundleError
from scripts.training import progress
from scripts.training.checkpointing import ResumableCheckpoint, checkpoint_files
from scripts.training.progress import ProgressReporter, metrics_of


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def train(path, losses, first_epoch=0, extra=None):
    """An engine whose iterations have these losses, epoch by epoch."""
    queue = [loss for epoch in losses for loss in epoch]

    def step(*_):
        return [{CommonKeys.LOSS: torch.tensor(queue.pop(0))}]

    engine = Engine(step)
    ProgressReporter(path, "PRNet coarse", extra).attach(engine)
    length = len(losses[0])
    engine.state.epoch, engine.state.iteration = first_epoch, first_epoch * length
    engine.state.max_epochs, engine.state.epoch_length = first_epoch + len(losses), length
    engine.run(range(length), max_epochs=first_epoch + len(losses), epoch_length=length)


def test_rows(tmp_path):
    train(tmp_path / "deep" / "curve.csv", [[1.0, 3.0], [4.0, 5.0]])
    rows = rows_of(tmp_path / "deep" / "curve.csv")
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [("1", "2"), ("2", "4.5")]
    assert float(rows[0]["seconds"]) <= float(rows[1]["seconds"])


def test_resuming_drops_the_rows_of_repeated_epochs(tmp_path):
    path = tmp_path / "curve.csv"
    train(path, [[1.0], [2.0], [3.0]])
    train(path, [[20.0], [30.0]], first_epoch=1)
    assert [(row["epoch"], row["train_loss"]) for row in rows_of(path)] == [("1", "1"), ("2", "20"), ("3", "30")]


def test_starting_anew_drops_all_rows(tmp_path):
    path = tmp_path / "curve.csv"
    train(path, [[1.0], [2.0]])
    train(path, [[5.0]])
    assert [row["train_loss"] for row in rows_of(path)] == ["5"]


def test_extra_columns_may_be_empty_at_first(tmp_path):
    values = iter([{}, {"error_mm": 12.34567891}, {"error_mm": None}])
    train(tmp_path / "curve.csv", [[1.0]] * 3, extra=lambda: next(values))
    rows = rows_of(tmp_path / "curve.csv")
    assert list(rows[0]) == ["epoch", "seconds", "train_loss", "error_mm"]
    assert [row["error_mm"] for row in rows] == ["", "12.3457", ""]


def test_metrics_belong_to_the_epoch_they_were_measured_in(tmp_path):
    evaluator = Engine(lambda *_: None)
    measured = iter([70.0, 60.0])

    def validate(engine):
        evaluator.state.metrics["error_mm"] = next(measured)

    engine = Engine(lambda *_: [{CommonKeys.LOSS: torch.tensor(1.0)}])
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), validate)
    ProgressReporter(tmp_path / "curve.csv", "net", metrics_of(evaluator)).attach(engine)
    engine.run(range(1), max_epochs=4)
    assert [row["error_mm"] for row in rows_of(tmp_path / "curve.csv")] == ["", "70", "", "60"]


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_training_that_diverges_ends_and_keeps_its_last_good_checkpoint(tmp_path, lost):
    network = torch.nn.Linear(1, 1)
    losses = iter([2.0, 1.0, lost, lost])

    def step(*_):
        loss = next(losses)
        torch.nn.init.constant_(network.weight, loss)
        return [{CommonKeys.LOSS: torch.tensor(loss)}]

    engine = Engine(step)
    ProgressReporter(tmp_path / "curve.csv", "segmentation network").attach(engine)
    ResumableCheckpoint(tmp_path, {"network": network}).attach(engine)
    with pytest.raises(BundleError, match="the loss of the segmentation network is no finite number") as caught:
        engine.run(range(1), max_epochs=4)
    assert caught.value.found == f"{lost} in epoch 3" and "learning_rate" in caught.value.expected
    assert float(torch.load(checkpoint_files(tmp_path)[-1], weights_only=True)["network"]["weight"]) == 1.0
    assert [row["train_loss"] for row in rows_of(tmp_path / "curve.csv")] == ["2", "1"]


def test_log_line_and_remaining_time(tmp_path, monkeypatch, caplog):
    clock = iter([0.0, 10.0, 10.0, 40.0, 40.0, 60.0])  # epochs of 10, 30 and 20 seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(logging.getLogger("scripts.training.progress"), "disabled", False)
    reporter = ProgressReporter(tmp_path / "curve.csv", "PRNet coarse")
    engine = Engine(lambda *_: None)
    engine.state.max_epochs = 6
    with caplog.at_level(logging.INFO, logger="scripts.training.progress"):
        for epoch in (1, 2):
            engine.state.epoch, engine.state.output = epoch, [{CommonKeys.LOSS: torch.tensor(2.5)}]
            reporter.start_epoch(engine), reporter.add_loss(engine), reporter.finish_epoch(engine)
        engine.state.epoch = 3
        with listening(lambda unit, done, total: "stage 2 of 4, of the run about 9 min left"):
            reporter.start_epoch(engine), reporter.add_loss(engine), reporter.finish_epoch(engine)
    assert caplog.messages == [
        "PRNet coarse: epoch 1/6, train_loss 2.5, about 0 min 50 s left",
        "PRNet coarse: epoch 2/6, train_loss 2.5, about 1 min 20 s left",
        "PRNet coarse: epoch 3/6, train_loss 2.5, about 1 min 00 s left (stage 2 of 4, of the run about 9 min left)",
    ]
