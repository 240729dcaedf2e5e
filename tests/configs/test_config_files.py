"""Every config parses, patches only what exists, and its components can be made; the others are tested elsewhere."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from bundle.pipeline.configs import key_path, read_configs, with_paths
from bundle.pipeline.stages import BASES
from scripts.point_propagation.stage import PointPropagationStage
from scripts.pseudo_labels.stage import PseudoLabelStage
from tests.configs.walk import WHOLE
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
    files, values = [str(CONFIGS / name) for name in names], with_paths(names, overrides)
    config = ConfigWorkflow(config_file=files, logging_file=False, workflow_type=workflow_type, **values)
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


PATCHES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.glob("*/*.json"))
MORE = {
    "multi_gpu": {"+imports", "+initialize", "finalize"},  # several processes begin and end otherwise
    "all_pairs": {"+network_def", "+card"},  # what propagation has to do likewise
}


@pytest.mark.parametrize("patch", PATCHES)
def test_patches_change_only_what_is_there_by_its_full_path(patch):
    base = next(names for names in WHOLE if Path(patch).name in names)
    changed = json.loads((CONFIGS / patch).read_text(encoding="utf-8"))
    keys = changed.keys() - MORE.get(Path(patch).parts[0], set())
    assert [key for key in keys if key_path(read_configs(base), key) != key] == []


@pytest.mark.parametrize("stage", BASES)
def test_what_a_stage_adds_to_a_config_is_there_already(stage):
    base, *more = BASES[stage]
    if base == "propagation_settings.json":
        return
    for patch in more:
        with_paths([base], json.loads((CONFIGS / patch).read_text(encoding="utf-8")))


@pytest.mark.parametrize("stage", ["first_round", "label_fusion"])
def test_settings_of_both_rounds_are_written_once(stage):
    shared, own = ({*json.loads((CONFIGS / name).read_text(encoding="utf-8"))} for name in BASES[stage])
    assert shared & own == set()


def test_several_gpus_begin_and_end_together_and_do_the_same():
    alone, together = (read_configs(["train.json", *more]) for more in ([], ["multi_gpu/train.json"]))
    assert together["run"] == alone["run"] and together["imports"][: len(alone["imports"])] == alone["imports"]
    assert together["initialize"] == [*alone["initialize"], "$join_together(@device)"]
    assert together["finalize"] == ["$leave_together()"]
    changed = {"imports", "device", "rank", "network", "train", "initialize", "finalize"}
    assert {key for key in together if together[key] != alone.get(key)} == changed


def test_every_profile_patches_a_config_of_its_name():
    assert PATCHES
    assert [patch for patch in PATCHES if not (CONFIGS / Path(patch).name).is_file()] == []


@pytest.mark.parametrize(
    ("patches", "name"),
    [
        ([], "coarse"),
        (["train_prnet_fine.json"], "fine"),
        (["small/train_prnet.json"], "coarse"),
        (["all_pairs/train_prnet.json"], "coarse"),
        (["train_prnet_fine.json", "all_pairs/train_prnet.json"], "fine"),
    ],
)
def test_training_of_prnet_has_monais_properties_and_runs(folder, patches, name):
    config = workflow(["train_prnet.json", *patches], "train", **tiny_prnet(folder))
    assert config.check_properties() == []
    config.run()
    assert (folder / "out" / "prnet" / name / "model.json").is_file()
    card = json.loads((folder / "out" / "prnet" / name / "model.json").read_text(encoding="utf-8"))
    assert (card["name"], card["width"], card["validation_cases"]) == (name, 1, ["case_1"])
    marks = {key: True for key in ("body_only", "float32_head") if any("all_pairs" in patch for patch in patches)}
    assert {key: card[key] for key in ("body_only", "float32_head") if key in card} == marks
    assert config.parser.get_parsed_content("network_def").float32_head == bool(marks)


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
    made = propagation.parser.get_parsed_content("stage")
    assert isinstance(made, PointPropagationStage)
    assert made.limits == (150, 500)
    assert made.rule.name == "dual"
    labels = workflow(["pseudo_labels.json", "small/pseudo_labels.json"], **places)
    made = labels.parser.get_parsed_content("stage")
    assert isinstance(made, PseudoLabelStage)
    assert tuple(made.settings.geodesic_spacing_mm) == (2.0, 2.0, 2.0)


def test_paper_constants():
    """arXiv 2111.10773 and its public code, where the small configuration does not replace them."""
    names = ("train_prnet.json", "point_propagation.json", "pseudo_labels.json", "train.json")
    prnet, propagation, labels, segmentation = (
        read_configs([name, *(patch for patch in PATCHES if patch == f"paper/{name}")]) for name in names
    )
    assert (prnet["patch_size"], prnet["spacing_mm"], prnet["width"]) == ([128, 128, 48], [1.0, 1.0, 3.0], 16)
    assert (propagation["rule"], propagation["settings"]["fine_steps"]) == ("dual", 1)
    assert (labels["settings"]["lam"], labels["settings"]["refinement"]["refine"]) == (1.0, False)
    assert labels["settings"]["seed_probability"] is None
    schedule = segmentation["plc_delta"]
    assert (schedule["start"], schedule["factor"], schedule["floor"]) == (0.95, 0.99, 0.85)
    assert (segmentation["architecture"], segmentation["network_def"]["dropout"]) == ("unet", 0.1)
    assert (segmentation["use_plc"], segmentation["plc_guarded"], segmentation["class_balance"]) == (True, False, 0.0)


def test_the_small_configuration_of_mode_paper_guards_its_label_correction():
    segmentation = read_configs(["train.json", "paper/train.json", "small/train.json", "paper_small/train.json"])
    assert (segmentation["use_plc"], segmentation["plc_guarded"]) == (True, True)
