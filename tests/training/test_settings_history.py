"""A training that goes on with other settings notes which held until when."""

import logging

import pytest
import torch
from ignite.engine import Engine

from scripts.training.checkpointing import ResumableCheckpoint
from scripts.training.settings_history import card_of, note_settings


@pytest.fixture(autouse=True)
def _hear_the_log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("scripts.training.checkpointing"), "disabled", False)
    caplog.set_level(logging.WARNING, logger="scripts.training.checkpointing")


def train(folder, epochs, **settings):
    """The card of a training of so many epochs."""
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(folder, {"network": torch.nn.Linear(1, 1)}).attach(engine)
    if settings:
        note_settings(engine, settings)
    engine.run(range(1), max_epochs=epochs)
    return card_of(engine) if settings else None


def test_the_same_settings_throughout_are_the_card(tmp_path, caplog):
    assert train(tmp_path, 2, batch=2, sizes=(1, 2)) == {"batch": 2, "sizes": [1, 2]}
    assert train(tmp_path, 4, batch=2, sizes=(1, 2)) == {"batch": 2, "sizes": [1, 2]}
    assert not caplog.messages


def test_each_change_is_noted_with_its_last_epoch_and_said(tmp_path, caplog):
    train(tmp_path, 2, batch=2, zoom=0.3)
    train(tmp_path, 3, batch=4, zoom=0.3)
    card = train(tmp_path, 5, batch=4, zoom=0.1, noise=0.5)
    assert card == {
        **{"batch": 4, "zoom": 0.1, "noise": 0.5},
        "earlier_settings": [
            {"until_epoch": 2, "batch": 2, "zoom": 0.3, "noise": None},
            {"until_epoch": 3, "zoom": 0.3, "noise": None},
        ],
    }
    assert caplog.messages == [
        "from epoch 3 on the training goes on with other settings, which its card will say: batch",
        "from epoch 4 on the training goes on with other settings, which its card will say: noise, zoom",
    ]


def test_settings_that_no_epoch_ran_with_are_not_said_to_go_on(tmp_path, caplog):
    train(tmp_path, 2, batch=2)
    assert train(tmp_path, 2, batch=4)["earlier_settings"] == [{"until_epoch": 2, "batch": 2}]
    assert not any("goes on" in message for message in caplog.messages)


def test_a_training_or_checkpoint_that_notes_nothing_goes_on_as_before(tmp_path, caplog):
    train(tmp_path, 1)
    assert train(tmp_path, 2, batch=2) == {"batch": 2}
    train(tmp_path, 3)
    assert train(tmp_path, 4, batch=4) == {"batch": 4}
    assert not caplog.messages
