"""Every config parses, patches only what exists, and its components can be made; the others are tested elsewhere."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from bundle.pipeline.configs import check_keys
from bundle.pipeline.stages import BASES
from scripts.point_propagation.point_propagation import ScribblePropagation
from scripts.pseudo_labels.labeller import PseudoLabeller
from tests.paths import ROOT
from tests.pipeline_fixtures import BACKGROUND, CLASSES, make_cohort, make_weights, volume

CONFIGS = ROOT / "configs"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _in_bundle_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def folder(tmp_path):
    return make_cohort(tmp_path, 2)


def workflow(names, workflow_type=None, **overrides):
    files = [str(CONFIGS / name) for name in names]
    config = ConfigWorkflow(config_file=files, logging_file=False, workflow_type=workflow_type, **overrides)
    config.initialize()
    return config


def tiny_prnet(folder):
    return {
        "dataset_dir": str(folder / "images"),
        "output_dir": str(folder / "out"),
        "device": CPU,
        "spacing_mm": [4.0] * 3,
        "patch_size": [32, 16, 16],
        "pooling": 1,
        "width": 1,
        "max_epochs": 1,
        "iterations_per_epoch": 1,
        "volumes_per_batch": 1,
        "pairs_per_volume": 1,
        "validation_pairs": 2,
        "validation_count": 1,
    }


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.json")), ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_file_is_json_without_a_key_given_twice(file):
    def unique(pairs):
        keys = [key for key, _ in pairs]
        assert len(set(keys)) == len(keys), sorted(keys)
        return dict(pairs)

    json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=unique)


@pytest.mark.parametrize("stage", BASES)
def test_patches_change_only_what_is_there(stage):
    base, *more = BASES[stage]
    profiles = [str(file.relative_to(CONFIGS)) for file in CONFIGS.glob(f"*/{base}") if file.parent.name != "multi_gpu"]
    for patch in [*more, *profiles]:
        check_keys([base], json.loads((CONFIGS / patch).read_text(encoding="utf-8")))


def test_every_profile_patches_a_config_of_its_name():
    patches = sorted(CONFIGS.glob("*/*.json"))
    assert patches
    assert [patch for patch in patches if not (CONFIGS / patch.name).is_file()] == []


@pytest.mark.parametrize(
    ("patches", "name"), [([], "coarse"), (["train_prnet_fine.json"], "fine"), (["small/train_prnet.json"], "coarse")]
)
def test_training_of_prnet_has_monais_properties_and_runs(folder, patches, name):
    config = workflow(["train_prnet.json", *patches], "train", **tiny_prnet(folder))
    assert config.check_properties() == []
    config.run()
    assert (folder / "out" / "prnet" / name / "model.json").is_file()
    card = json.loads((folder / "out" / "prnet" / name / "model.json").read_text(encoding="utf-8"))
    assert (card["name"], card["width"], card["validation_cases"]) == (name, 1, ["case_1"])


def oneshot(folder, **overrides):
    return workflow(
        ["inference_oneshot.json"],
        dataset_dir=str(folder / "images"),
        output_dir=str(folder / "out"),
        prnet_dir=str(make_weights(folder / "prnet")),
        support=str(folder / "images" / "case_0.nii.gz"),
        scribbles=str(folder / "scribbles.nii.gz"),
        classes=CLASSES,
        background=BACKGROUND,
        device=CPU,
        geodesic_spacing_mm=[4.0] * 3,
        **overrides,
    )


def test_oneshot_inference_labels_new_volumes(folder):
    oneshot(folder, tau=-1.0).run()
    for case in ("case_0", "case_1"):
        image = nib.load(folder / "images" / f"{case}.nii.gz")
        label = nib.load(folder / "out" / "pseudo_labels" / f"{case}.nii.gz")
        assert label.affine.tobytes() == image.affine.tobytes()
        assert label.shape == volume(0).shape
        assert set(np.unique(label.dataobj)) <= {0, 1, 6}
    support = np.asarray(nib.load(folder / "out" / "pseudo_labels" / "case_0.nii.gz").dataobj)
    assert support[4, 3, 5] == 1, "the support keeps its own strokes"
    assert support[4, 4, 5] == 6


def test_components_of_propagation_and_pseudo_labels_can_be_made(folder):
    oneshot(folder, run=["$@cohort"]).run()
    places = {"output_dir": str(folder / "out"), "device": CPU}
    propagation = workflow(
        ["point_propagation.json", "small/point_propagation.json"], prnet_dir=str(folder / "prnet"), **places
    )
    made = propagation.parser.get_parsed_content("propagation")
    assert isinstance(made, ScribblePropagation)
    assert made.limits == (150, 500)
    assert made.rule.name == "dual"
    labels = workflow(["pseudo_labels.json", "small/pseudo_labels.json"], **places)
    made = labels.parser.get_parsed_content("labeller")
    assert isinstance(made, PseudoLabeller)
    assert made.settings.spacing_mm == (2.0, 2.0, 2.0)


def test_paper_constants():
    """arXiv 2111.10773 and its public code, where the small configuration does not replace them."""
    prnet, propagation, labels, segmentation = (
        json.loads((CONFIGS / name).read_text(encoding="utf-8"))
        for name in ("train_prnet.json", "point_propagation.json", "pseudo_labels.json", "train.json")
    )
    assert (prnet["patch_size"], prnet["spacing_mm"], prnet["width"]) == ([128, 128, 48], [1.0, 1.0, 3.0], 16)
    assert (propagation["rule"], propagation["fine_steps"]) == ("dual", 1)
    assert (labels["lam"], labels["refine"]) == (1.0, False)
    schedule = segmentation["plc_delta"]
    assert (schedule["start"], schedule["factor"], schedule["floor"]) == (0.95, 0.99, 0.85)
