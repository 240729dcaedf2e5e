import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from scripts.segmentation.label_correction import (
    DeltaSchedule,
    ProgressiveLabelCorrection,
    correct_labels,
    count_changes,
)
from scripts.segmentation.label_store import LabelStore

DELTA = [0.9, 0.8, 0.8]


def volume(values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype).reshape(-1, 1, 1)


def probabilities(rows):
    """One row of K + 1 probabilities per voxel."""
    return torch.tensor(rows).T.reshape(3, -1, 1, 1)


@pytest.mark.parametrize(
    ("before", "row", "after"),
    [
        (1, [0.95, 0.03, 0.02], 0),  # foreground to background
        (0, [0.10, 0.85, 0.05], 1),  # background to foreground: the public code never does
        (1, [0.05, 0.10, 0.85], 2),  # between classes
        (1, [0.85, 0.10, 0.05], 1),  # not sure enough for the background's own threshold
        (0, [0.20, 0.80, 0.00], 0),  # exactly at the threshold: stays
        (2, [0.00, 0.01, 0.99], 2),  # agrees
        (3, [0.00, 0.01, 0.99], 2),  # undecided, now decided
        (3, [0.50, 0.20, 0.30], 3),  # still undecided
    ],
)
def test_one_voxel(before, row, after):
    label = volume([before], torch.uint8)
    corrected = correct_labels(label, probabilities([row]), DELTA)
    changes = count_changes(label, corrected, 3)
    assert corrected.flatten().tolist() == [after]
    assert corrected.dtype == torch.uint8
    assert changes.sum() == int(before != after)
    if before != after:
        assert changes[before, after] == 1


def test_changes_are_counted_from_row_to_column():
    label, corrected = volume([1, 1, 0, 1, 2, 3], torch.int64), volume([0, 0, 1, 2, 3, 3], torch.int64)
    assert count_changes(label, corrected, 3).tolist() == [[0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_schedule_falls_to_its_floor():
    schedule = DeltaSchedule(0.95, 0.99, 0.85)
    assert schedule(0, 2) == [0.95, 0.95]
    assert schedule(1, 1) == pytest.approx([0.9405])
    assert schedule(11, 1) == pytest.approx([0.95 * 0.99**11])
    assert schedule(12, 1) == [0.85]
    assert DeltaSchedule([0.99, 0.95], 0.9, [0.9, 0.8])(1, 2) == pytest.approx([0.9, 0.855])


class Cases(list):
    def preprocessed(self, index):
        return self[index]


class Stub(torch.nn.Module):
    """Always sure of class 2."""

    def forward(self, image):
        return torch.cat([image * 0, image * 0, image * 0 + 20], dim=1)


def make(tmp_path, **settings):
    cases = Cases()
    for name, located in (("a", [1.0, 1.0]), ("b", [1.0, 0.0])):
        image = MetaTensor(torch.ones(1, 2, 2, 2), affine=torch.eye(4))
        label = MetaTensor(torch.zeros(1, 2, 2, 2, dtype=torch.uint8), affine=torch.eye(4))
        cases.append({"image": image, "label": label, "case": name, "located": torch.tensor(located)})
    store = LabelStore(tmp_path / "labels")
    inferer = lambda image, network: network(image)  # noqa: E731
    handler = ProgressiveLabelCorrection(
        cases, store, Stub(), inferer, ["spleen", "liver"], tmp_path / "flips.json", **settings
    )
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    return handler, store, engine


def test_handler_writes_rounds_and_flips(tmp_path):
    _, store, engine = make(tmp_path, start_epoch=2, interval=2, history_epochs=10)
    engine.run([0], max_epochs=4)
    assert store.rounds() == [2, 4]
    assert np.all(store.read("a") == 2)
    assert np.all(store.read("b") == 0), "a class not located in a case is not flipped to"
    first, second = json.loads((tmp_path / "flips.json").read_text(encoding="utf-8"))
    assert (first["round"], first["voxels"]) == (2, 8)
    assert first["flips"]["liver"] == {"added": 8, "removed": 0}
    assert first["flips"]["background"] == {"added": 0, "removed": 8}
    assert first["cases"] == {"a": {"liver": {"added": 8, "removed": 0}}}
    assert first["delta"]["spleen"] == 0.95
    assert (second["round"], second["voxels"]) == (4, 0)
    assert second["delta"]["spleen"] == pytest.approx(0.95 * 0.99**2, abs=1e-6)


def test_resuming_at_an_epoch_drops_later_rounds(tmp_path):
    _, store, engine = make(tmp_path, history_epochs=10)
    engine.run([0], max_epochs=3)
    assert store.rounds() == [1, 2, 3]
    handler, store, engine = make(tmp_path)
    engine.state.epoch = 2  # training continues after epoch 1: epoch 2 starts
    handler.follow_epoch(engine)
    assert store.rounds() == [1]
    handler.correct(engine)
    assert [row["round"] for row in json.loads((tmp_path / "flips.json").read_text(encoding="utf-8"))] == [1, 2]


def test_only_rounds_that_checkpoints_need_are_kept(tmp_path):
    _, store, engine = make(tmp_path, history_epochs=2)
    engine.run([0], max_epochs=6)
    assert store.rounds() == [4, 5, 6]
