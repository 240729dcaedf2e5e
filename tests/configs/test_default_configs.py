"""The configs of mode `default`, run one after the other on a tiny cohort, from outside the bundle's folder."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from bundle.pipeline.configs import read_configs, with_paths
from bundle.pipeline.stages import BASES
from scripts.common.files import read_json
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PropagationRecord
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


def run(stage, output, workflow_type=None, **overrides):
    names = BASES[stage]
    places = {"bundle_root": str(ROOT), "output_dir": str(output), "device": torch.device("cpu")}
    if "device" not in read_configs(names):
        del places["device"]
    config = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / name) for name in names],
        logging_file=False,
        workflow_type=workflow_type,
        **with_paths(names, places | overrides),
    )
    config.initialize()
    problems = config.check_properties() if workflow_type else []
    config.run()
    config.finalize()
    return problems


def test_from_volumes_to_pseudo_labels(tmp_path):
    cohort = make_cohort(tmp_path, count=3)
    output = cohort.output_dir
    assert run("embedding", output, "train", dataset_dir=str(tmp_path / "images"), **TRAINING) == []
    card = json.loads((output / "embedding" / "model.json").read_text(encoding="utf-8"))
    assert card["kind"] == "embedding" and card["window_size"] == [32, 32, 32]
    curve = (output / "embedding" / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert len(curve) == 3 and "val_match_error_mm" in curve[0]
    run("support_mask", output)
    work, lenient = WorkFolder(output), {"match_cycle_mm": SETTINGS["label_fusion"]["match_cycle_mm"]}
    run("first_round", output, support_mask=str(work.support_mask.label("case_0")), **lenient)
    record = PropagationRecord.read(work.first_round.record("case_1"))
    assert record.rule == {"name": "first_round", "point_cycle_mm": 16.0, "tissue_tolerance": 0.08}
    assert set(record.round_trip_dice) == set(CLASSES)
    places = {"propagation_dir": str(work.first_round.path), "labels_dir": str(work.first_round_labels.path)}
    run("pseudo_labels", output, seed_probability=0.85, **places)
    run("label_fusion", output, least_round_trip_dice=0.0, **lenient)
    assert len(PropagationRecord.read(work.propagation.record("case_1")).atlases) == 2
    run("pseudo_labels", output, seed_probability=0.85, em_rounds=2)
    run("self_check", output, results_dir=str(output / "pseudo_labels"))
    assert set(read_json(output / "self_check" / "case_1.json")["classes"]) == set(CLASSES)
    for case in ("case_0", "case_1", "case_2"):
        label = np.asarray(nib.load(output / "pseudo_labels" / f"{case}.nii.gz").dataobj)
        assert set(np.unique(label)) <= {0, *CLASSES.values()}
    assert (np.asarray(nib.load(work.support_mask.label("case_0")).dataobj) > 0).any()


def test_a_resumed_training_equals_the_straight_one(tmp_path):
    output = make_cohort(tmp_path, count=3).output_dir
    folder = output / "embedding"

    def train():
        run("embedding", output, dataset_dir=str(tmp_path / "images"), **TRAINING)
        return torch.load(folder / "model.pt", weights_only=True)

    straight = train()
    (folder / "checkpoints" / "epoch_0002.pt").unlink()
    resumed = train()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())
