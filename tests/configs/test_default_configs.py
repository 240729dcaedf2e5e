"""The configs of mode `default`, run one after the other on a tiny cohort, from outside the bundle's folder."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from scripts.common.files import read_json
from tests.paths import ROOT
from tests.pipeline_fixtures import default_settings
from tests.prnet_fixtures import CLASSES, SPACING_MM, make_cohort

SETTINGS = default_settings()
TRAINING = {
    **SETTINGS["embedding"],
    "spacing_mm": list(SPACING_MM),
    "volumes_per_batch": 2,
    "validation_count": 1,
    "validation_views": 2,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(name, output, workflow_type=None, **overrides):
    config = ConfigWorkflow(
        config_file=str(ROOT / "configs" / name),
        logging_file=False,
        workflow_type=workflow_type,
        bundle_root=str(ROOT),
        output_dir=str(output),
        device=torch.device("cpu"),
        **overrides,
    )
    config.initialize()
    problems = config.check_properties() if workflow_type else []
    config.run()
    config.finalize()
    return problems


def test_from_volumes_to_pseudo_labels(tmp_path):
    cohort = make_cohort(tmp_path, count=3)
    output = cohort.output_dir
    assert run("train_embedding.json", output, "train", dataset_dir=str(tmp_path / "images"), **TRAINING) == []
    card = json.loads((output / "embedding" / "model.json").read_text(encoding="utf-8"))
    assert card["kind"] == "embedding" and card["window_size"] == [32, 32, 32]
    curve = (output / "embedding" / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert len(curve) == 3 and "val_match_error_mm" in curve[0]
    run("support_mask.json", output)
    region = output / "support_mask" / "pseudo_labels" / "case_0.nii.gz"
    first = output / "first_round"
    rounds = SETTINGS["label_fusion"]["map_rounds"]
    run("first_round.json", output, support_mask=str(region), results_dir=str(first), map_rounds=rounds)
    record = read_json(first / "propagation" / "case_1.json")
    assert record["rule"] == "first_round" and record["cycle_mm"] == 16.0
    assert set(record["round_trip_dice"]) == set(CLASSES)
    run("pseudo_labels.json", output, results_dir=str(first), seed_probability=0.85)
    run("label_fusion.json", output, map_rounds=rounds, least_round_trip_dice=0.0)
    assert len(read_json(output / "propagation" / "case_1.json")["atlases"]) == 2
    run("pseudo_labels.json", output, seed_probability=0.85, em_rounds=2)
    run("self_check.json", output, results_dir=str(output / "pseudo_labels"))
    assert set(read_json(output / "self_check" / "case_1.json")["classes"]) == set(CLASSES)
    for case in ("case_0", "case_1", "case_2"):
        label = np.asarray(nib.load(output / "pseudo_labels" / f"{case}.nii.gz").dataobj)
        assert set(np.unique(label)) <= {0, *CLASSES.values()}
    assert (np.asarray(nib.load(region).dataobj) > 0).any()


def test_a_resumed_training_equals_the_straight_one(tmp_path):
    output = make_cohort(tmp_path, count=3).output_dir
    folder = output / "embedding"

    def train():
        run("train_embedding.json", output, dataset_dir=str(tmp_path / "images"), **TRAINING)
        return torch.load(folder / "model.pt", weights_only=True)

    straight = train()
    (folder / "checkpoints" / "epoch_0002.pt").unlink()
    resumed = train()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())
