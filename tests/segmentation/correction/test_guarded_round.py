import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents

from scripts.common.errors import BundleError
from scripts.segmentation.correction.settings import GuardSettings
from scripts.segmentation.label_correction import ProgressiveLabelCorrection
from scripts.segmentation.label_store import LabelStore

SPACING = np.diag([4.0, 4.0, 4.0, 1.0])
LIMITS = GuardSettings(settled_slope=1.0, most_round_share=1.0, most_total_share=1.0, ignored_rounds=1)


class Cases(list):
    def preprocessed(self, index):
        return self[index]


class Shown(torch.nn.Module):
    """Sure of the class that the image shows."""

    def forward(self, image):
        return 20.0 * torch.nn.functional.one_hot(image[:, 0].long(), 3).movedim(-1, 1).float()


def volume(text, dtype):
    return torch.tensor([int(sign) for sign in text], dtype=dtype).reshape(1, -1, 1, 1)


def case(name, label, shown, located=(1, 1)):
    image = MetaTensor(volume(shown, torch.float32), affine=torch.from_numpy(SPACING))
    first = MetaTensor(volume(label, torch.uint8), affine=torch.from_numpy(SPACING))
    return {"image": image, "label": first, "case": name, "located": torch.tensor(located).float()}


def make(folder, cases):
    """Training whose every batch agrees with its labels somewhat more than the one before."""
    store = LabelStore(folder / "labels")
    handler = ProgressiveLabelCorrection(
        Cases(cases),
        store,
        Shown(),
        lambda image, network: network(image),
        ["spleen", "liver"],
        folder / "flips.json",
        start_epoch=4,
        history_epochs=10,
        guard=LIMITS,
    )

    def step(engine, batch):
        right = engine.state.epoch
        label = volume("1" * 12 + "2" * 12, torch.uint8)[None]
        said = volume("1" * right + "0" * (12 - right) + "2" * 12, torch.uint8)[None]
        pred = Shown()(said.float())
        engine.state.output = {"pred": pred, "label": {"label": label, "located": torch.ones(1, 2)}}
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)

    engine = Engine(step)
    engine.register_events(*IterationEvents)
    handler.attach(engine)
    return store, engine


CASES = [
    case("a", "0111100220", "0111100220"),
    case("b", "0111100220", "0011110220"),
    case("c", "0000000220", "0111100220"),
]


def stored(store, name):
    return "".join(map(str, store.read(name).flatten()))


def test_a_round_grows_takes_and_places_classes_and_says_so(tmp_path):
    store, engine = make(tmp_path, CASES)
    engine.run([0], max_epochs=4)
    assert [stored(store, name) for name in "abc"] == ["0111100220", "0311110220", "0111100220"]
    assert store.read_ignored("b").flatten().tolist() == [0, 1, *[0] * 8]
    (entry,) = json.loads((tmp_path / "flips.json").read_text(encoding="utf-8"))
    assert entry["classes"] == {"spleen": "corrected", "liver": "corrected"}
    assert entry["cases"] == {
        "b": {"spleen": {"added": 1, "removed": 1}},
        "c": {"spleen": {"added": 4, "removed": 0, "verdict": "placed where the network shows it"}},
    }
    assert (entry["voxels"], entry["ignored"]) == (6, 1)


def test_a_class_without_a_voxel_is_placed_though_it_was_not_located(tmp_path):
    cases = [*CASES[:2], case("c", "0000000220", "0111100220", (0, 1)), case("d", "1100000220", "0111100220", (0, 1))]
    store, engine = make(tmp_path, cases)
    engine.run([0], max_epochs=4)
    assert stored(store, "c") == "0111100220"
    assert stored(store, "d") == "1100000220", "a label that nobody trusts stays as it is, and teaches nothing"
    (entry,) = json.loads((tmp_path / "flips.json").read_text(encoding="utf-8"))
    assert entry["cases"]["c"]["spleen"]["verdict"] == "placed where the network shows it"
    assert entry["cases"]["d"]["spleen"]["verdict"] == "left: not located"


def test_what_was_ignored_becomes_background_in_the_next_round(tmp_path):
    store, engine = make(tmp_path, CASES)
    engine.run([0], max_epochs=5)
    assert stored(store, "b") == "0011110220"
    assert not store.read_ignored("b").any()


def test_curves_of_agreement_are_kept_and_a_resumed_training_goes_on_with_them(tmp_path):
    store, engine = make(tmp_path, CASES)
    engine.run([0], max_epochs=4)
    rows = json.loads((store.directory / "agreement.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["iou"]["spleen"] for row in rows] == pytest.approx([1 / 12, 2 / 12, 3 / 12, 4 / 12])
    _, engine = make(tmp_path, CASES)
    engine.state.max_epochs, engine.state.epoch = 3, 2  # killed in epoch 3
    engine.run([0], max_epochs=3)
    assert json.loads((store.directory / "agreement.json").read_text(encoding="utf-8")) == rows[:3]
    (store.directory / "agreement.json").unlink()
    engine.state.max_epochs, engine.state.epoch = 3, 2
    with pytest.raises(BundleError, match="the curves of agreement are incomplete"):
        engine.run([0], max_epochs=3)


def test_a_class_that_the_network_forgets_keeps_its_labels(tmp_path):
    forgetful = [case("a", "0111100220", "0000000220"), case("b", "0111100220", "0000000220")]
    store, engine = make(tmp_path, forgetful)
    engine.run([0], max_epochs=8)
    assert [stored(store, name) for name in "ab"] == ["0111100220", "0111100220"]
    entry = json.loads((tmp_path / "flips.json").read_text(encoding="utf-8"))[-1]
    assert entry["classes"]["spleen"] == "left: the network does not agree with the label"
    assert entry["voxels"] == 0
