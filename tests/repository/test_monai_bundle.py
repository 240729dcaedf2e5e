"""What users do with MONAI's own tools: run from elsewhere, from Python, export, track, learn in a federation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, create_workflow, load, onnx_export, run
from monai.networks.utils import get_state_dict

from bundle.datasets.dataset import read_dataset
from bundle.datasets.links import link_images
from bundle.pipeline.configs import read_configs
from tests.fixtures.real_data import data
from tests.paths import ROOT
from tests.segmentation_fixtures import TINY, make_work_dir

NETWORK = {
    "net_id": "network_def",
    "ckpt_file": str(ROOT / "models" / "model.pt"),
    "meta_file": str(ROOT / "configs" / "metadata.json"),
    "config_file": str(ROOT / "configs" / "inference.json"),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_stage_runs_from_another_folder(tmp_path):
    """The one line that the README gives for it."""
    work = make_work_dir(tmp_path)
    overrides = {"bundle_root": ROOT, "output_dir": work, **TINY, "device": "$torch.device('cpu')", "max_epochs": 1}
    arguments = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(ROOT / "configs" / "train.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (work / "segmentation" / "model.pt").is_file()


def test_training_is_tracked_by_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    work = make_work_dir(tmp_path)
    tiny = {**TINY, "device": "$torch.device('cpu')", "max_epochs": 2}
    config = str(ROOT / "configs" / "train.json")
    run(config_file=config, bundle_root=str(ROOT), output_dir=str(work), tracking="mlflow", **tiny)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{work}/mlruns.db")
    experiment = client.get_experiment_by_name("monai_experiment")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    curve = (work / "segmentation" / "curve.csv").read_text(encoding="utf-8").splitlines()
    steps = client.get_metric_history(tracked.info.run_id, "train_loss")
    last = [step.value for step in steps][-TINY["samples_per_epoch"] // TINY["batch_size"] :]
    assert float(curve[-1].split(",")[2]) == pytest.approx(np.mean(last), rel=1e-4)


def test_a_federated_client_trains_and_returns_what_it_learnt(tmp_path):
    from monai.fl.client import MonaiAlgo
    from monai.fl.utils.constants import ExtraItems, WeightType
    from monai.fl.utils.exchange_object import ExchangeObject

    work = make_work_dir(tmp_path)
    tiny = {key: value for key, value in TINY.items() if key != "max_epochs"}
    places = {"output_dir": str(tmp_path / "client"), "dataset_dir": str(work)}
    client = MonaiAlgo(str(ROOT), local_epochs=1, config_evaluate_filename=None, train_kwargs={**tiny, **places})
    client.initialize({ExtraItems.CLIENT_NAME: "hospital"})
    start = {name: value.numpy().copy() for name, value in get_state_dict(client.trainer.network).items()}
    client.train(ExchangeObject(weights=start))
    learnt = client.get_weights()
    client.finalize()
    assert learnt.weight_type == WeightType.WEIGHT_DIFF and set(learnt.weights) == set(start)
    assert any(np.abs(change).max() > 0 for change in learnt.weights.values())


def test_network_and_workflow_from_python(tmp_path):
    network = load(ROOT.name, bundle_dir=ROOT.parent, workflow_type="inference", device="cpu")
    weights = torch.load(ROOT / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    make_work_dir(tmp_path, count=2)
    places = {"bundle_root": str(ROOT), "dataset_dir": str(tmp_path / "images"), "output_dir": str(tmp_path / "out")}
    workflow = create_workflow(config_file=NETWORK["config_file"], workflow_type="inference", **places)
    assert workflow.check_properties() == []
    workflow.run()
    assert nib.load(tmp_path / "out" / "case_0.nii.gz").shape == nib.load(tmp_path / "images" / "case_0.nii.gz").shape


class OnnxNetwork(torch.nn.Module):
    """An exported ONNX network, one window at a time."""

    def __init__(self, file):
        super().__init__()
        self.session = pytest.importorskip("onnxruntime").InferenceSession(file)
        self.name = self.session.get_inputs()[0].name

    def forward(self, windows):
        return torch.cat([torch.from_numpy(self.session.run(None, {self.name: w[None].numpy()})[0]) for w in windows])


@pytest.mark.slow
def test_exported_networks_give_the_same_label_map_of_a_real_volume(tmp_path):
    """TorchScript and ONNX against the checkpoint, in float32: at most two voxels in 100,000 may differ."""
    dataset = read_dataset(data("abdomen_ct"))
    images = link_images({"volume": dataset.image(dataset.test[0])}, tmp_path / "images")
    ckpt_export(filepath=str(tmp_path / "model.ts"), **NETWORK)
    window = read_configs(["inference.json"])["patch_size"]
    onnx_export(filepath=str(tmp_path / "model.onnx"), input_shape=[1, 1, *window], **NETWORK)
    checkpoint = label_map(tmp_path / "by_checkpoint", images)
    scripted = label_map(tmp_path / "by_torchscript", images, torch.jit.load(tmp_path / "model.ts"))
    onnx = label_map(tmp_path / "by_onnx", images, OnnxNetwork(tmp_path / "model.onnx"))
    assert set(np.unique(checkpoint)) == {0, 1, 2, 3}
    for exported in (scripted, onnx):
        assert (exported != checkpoint).mean() <= 2e-5


def label_map(output, images, network=None):
    """The volume's label map by the shipped checkpoint, or by another network in its place."""
    config = json.loads(Path(NETWORK["config_file"]).read_text(encoding="utf-8"))
    places = {"bundle_root": str(ROOT), "dataset_dir": str(images), "output_dir": str(output), "bfloat16": False}
    if network is not None:
        others = [handler for handler in config["handlers"] if handler["_target_"] != "CheckpointLoader"]
        places |= {"network": network, "handlers": others}
    create_workflow(config_file=NETWORK["config_file"], workflow_type="inference", **places).run()
    return np.asarray(nib.load(output / "volume.nii.gz").dataobj)
