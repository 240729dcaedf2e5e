import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.transforms import Compose, LoadImaged

from bundle.pipeline.configs import read_configs, with_paths
from scripts.data.gate.hand_over import LoadHeldd
from scripts.segmentation.label_correction import ProgressiveLabelCorrection
from scripts.segmentation.transforms import AsDecidedDiscreted
from tests.paths import ROOT
from tests.segmentation_fixtures import CLASSES, LAS, LPS, TINY, make_work_dir, oblique, phantom

CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def _in_bundle_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def workflow(name, workflow_type, **override):
    config = ConfigWorkflow(
        config_file=[str(CONFIGS / name)],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        workflow_type=workflow_type,
        **with_paths([name], override),
    )
    config.initialize()
    return config


def train(work, **override):
    config = workflow("train.json", "train", output_dir=str(work), **{**TINY, **override})
    config.run()
    config.finalize()
    return torch.load(work / "segmentation" / "model.pt", weights_only=True)


def read(name):
    return json.loads((CONFIGS / name).read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------------------------------- training


def test_training_writes_what_the_contract_says(tmp_path):
    work = make_work_dir(tmp_path, not_located={"case_1": ["left_kidney"]})
    config = workflow("train.json", "train", output_dir=str(work), **TINY)
    assert config.check_properties() == []
    config.run()
    config.finalize()
    folder = work / "segmentation"
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert card["classes"] == CLASSES
    assert card["spacing_mm"] == TINY["spacing_mm"]
    assert card["training_cases"] == ["case_0", "case_1", "case_2"]
    assert [row["round"] for row in json.loads((folder / "flips.json").read_text(encoding="utf-8"))] == [1, 2, 3]
    rounds = sorted(path.name for path in (folder / "labels").glob("round_*"))
    assert rounds == ["round_001", "round_002", "round_003"]
    stored = nib.load(folder / "labels" / "round_003" / "case_0.nii.gz")
    assert nib.aff2axcodes(stored.affine) == ("R", "A", "S")
    assert set(np.unique(stored.dataobj)) <= {0, 1, 2}


EAGER_DELTA = {"_target_": "scripts.segmentation.label_correction.DeltaSchedule", "start": 0.4, "floor": 0.4}
EAGER_GUARD = {
    "_target_": "scripts.segmentation.correction.settings.GuardSettings",
    **dict.fromkeys(("least_background_probability", "least_network_dice"), 0.0),
    **dict.fromkeys(("settled_slope", "most_round_share", "most_total_share", "most_shrinkage"), 1.0),
}
EAGER = {"plc_delta": EAGER_DELTA, "average_decay": 0.0}
RULES = {
    "paper": {"plc_guarded": False, "max_epochs": 3},
    "guarded": {"plc_guarded": True, "plc_guard": EAGER_GUARD, "max_epochs": 6, "plc_start_epoch": 4},
}


@pytest.mark.parametrize("rule", RULES)
def test_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch, rule):
    eager = EAGER | RULES[rule]
    last = eager["max_epochs"]
    whole, killed = make_work_dir(tmp_path / "whole"), make_work_dir(tmp_path / "killed")
    expected = train(whole, **eager)
    flips = json.loads((whole / "segmentation" / "flips.json").read_text(encoding="utf-8"))
    assert sum(row["voxels"] for row in flips) > 0, "the test needs label corrections"

    finish = ProgressiveLabelCorrection._finish

    def kill(self, epoch, delta, changes):
        if epoch == last - 1:
            raise KeyboardInterrupt("killed when the round's labels are written but not its manifest")
        finish(self, epoch, delta, changes)

    monkeypatch.setattr(ProgressiveLabelCorrection, "_finish", kill)
    with pytest.raises(KeyboardInterrupt):
        train(killed, **eager)
    monkeypatch.setattr(ProgressiveLabelCorrection, "_finish", finish)
    resumed = train(killed, **eager)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    for file in ("flips.json", "labels/agreement.json")[: 2 if rule == "guarded" else 1]:
        texts = [(folder / "segmentation" / file).read_text(encoding="utf-8") for folder in (whole, killed)]
        assert texts[0] == texts[1], file
    stored = sorted((whole / f"segmentation/labels/round_{last:03d}").rglob("case_0.nii.gz"))
    assert len(stored) == (3 if rule == "guarded" else 1), "labels, and the state of the guarded rule"
    for path in stored:
        ours, theirs = (nib.load(killed / path.relative_to(whole)), nib.load(path))
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj)), path


def test_damaged_checkpoint_still_gives_the_same_weights(tmp_path):
    work = make_work_dir(tmp_path)
    expected = train(work, max_epochs=3)
    newest = work / "segmentation" / "checkpoints" / "epoch_0003.pt"
    newest.write_bytes(b"damaged")
    again = train(work, max_epochs=3)
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_card_says_how_its_weights_were_made_when_nothing_more_is_trained(tmp_path):
    work = make_work_dir(tmp_path)
    weights = train(work, max_epochs=1, use_plc=False)
    file = work / "segmentation" / "model.json"
    card = file.read_bytes()
    again = train(work, max_epochs=1, use_plc=False, batch_size=1, patches_per_volume=4)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert file.read_bytes() == card
    file.unlink()
    train(work, max_epochs=1, use_plc=False)
    assert json.loads(file.read_text(encoding="utf-8")).keys() == json.loads(card).keys()


def test_checkpoints_know_the_cases_and_label_maps_that_they_were_trained_on(tmp_path):
    work = make_work_dir(tmp_path)
    train(work, max_epochs=1, use_plc=False)
    content = torch.load(work / "segmentation" / "checkpoints" / "epoch_0001.pt", weights_only=True)
    assert list(json.loads(content["data"])) == ["case_0", "case_1", "case_2"]


def test_plain_pairs_without_correction_as_monai_label_gives_them(tmp_path):
    work = make_work_dir(tmp_path)
    pairs = [
        {"image": str(tmp_path / "images" / f"case_{n}.nii.gz"), "label": str(work / f"pseudo_labels/case_{n}.nii.gz")}
        for n in range(3)
    ]
    output = tmp_path / "elsewhere"
    train(output, use_plc=False, max_epochs=1, **{"train#dataset#data": pairs[:2], "validate#dataset#data": pairs[2:]})
    assert not (output / "segmentation" / "labels").exists()
    assert "val_dice_with_pseudo_labels" in (output / "segmentation" / "curve.csv").read_text(encoding="utf-8")


def test_undecided_voxels_of_the_validation_cases_count_nowhere(tmp_path):
    work = make_work_dir(tmp_path)
    for n in range(3):
        file = work / f"pseudo_labels/case_{n}.nii.gz"
        label = np.asarray(nib.load(file).dataobj).copy()
        label[:4], label[10:14, 10:14] = 255, 255
        nib.save(nib.Nifti1Image(label, LAS), file)
    train(work, use_plc=False, max_epochs=1, validation_count=1)
    (row,) = csv.DictReader((work / "segmentation" / "curve.csv").read_text(encoding="utf-8").splitlines())
    assert 0 <= float(row["val_dice_with_pseudo_labels"]) <= 1


def test_an_undecided_voxel_is_background_in_the_label_and_in_the_prediction():
    logits = torch.eye(3)[[0, 1, 2, 1, 2]].T.reshape(3, 5, 1, 1)
    label = torch.tensor([0, 1, 1, 3, 3]).reshape(1, 5, 1, 1)
    item = AsDecidedDiscreted(["pred", "label"], argmax=[True, False], to_onehot=3)({"pred": logits, "label": label})
    assert item["pred"].argmax(0).flatten().tolist() == [0, 1, 2, 0, 0]
    assert item["label"].argmax(0).flatten().tolist() == [0, 1, 1, 0, 0]
    assert item["pred"].sum() == item["label"].sum() == 5
    assert label.flatten().tolist() == [0, 1, 1, 3, 3], "the batch keeps its own"


def test_training_from_the_command_line(tmp_path):
    work = make_work_dir(tmp_path)
    overrides = {"output_dir": str(work), **TINY, "device": "cpu", "max_epochs": 1}
    arguments = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/train.json", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (work / "segmentation" / "model.pt").is_file()


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    work = make_work_dir(tmp_path)
    overrides = {"output_dir": str(work), **TINY, "device": "cpu", "max_epochs": 2}
    arguments = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "monai.bundle", "run", "--config_file", "['configs/train.json','configs/multi_gpu/train.json']"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights = torch.load(work / "segmentation" / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in weights)
    manifest = json.loads((work / "segmentation/labels/round_002/manifest.json").read_text(encoding="utf-8"))
    assert manifest["cases"] == ["case_0", "case_1", "case_2"]


# ---------------------------------------------------------------------------------------------------------- inference


def infer(images, output, **override):
    settings = {"classes": CLASSES, "patch_size": [16, 16, 16], "device": torch.device("cpu"), "crop_to_body": False}
    settings |= override
    config = workflow("inference.json", "infer", dataset_dir=str(images), output_dir=str(output), **settings)
    assert config.check_properties() == []
    config.run()
    config.finalize()


STUB = {
    "network_def": {"_target_": "tests.segmentation_fixtures.ThresholdNetwork"},
    "check_card": False,
    "handlers#1#_disabled_": True,
    "keep_largest": False,
    "bfloat16": False,
}


def thresholded(hu):
    from scripts.data.intensity import normalise_hu

    normal = normalise_hu(hu)
    return np.where(normal > 0.7, 3, np.where(normal > 0.5, 1, 0))


def qform_only(hu, affine):
    image = nib.Nifti1Image(hu, affine)
    image.set_sform(None, code=0)
    image.set_qform(affine, code=1)
    return image


@pytest.mark.parametrize("affine", [LAS, LPS, oblique()], ids=["LAS", "LPS", "oblique"])
def test_prediction_lies_on_the_image(tmp_path, affine):
    hu, _ = phantom(1, (24, 22, 20))
    images = tmp_path / "images"
    images.mkdir()
    nib.save(nib.Nifti1Image(hu, affine), images / "a.nii.gz")
    infer(images, tmp_path / "out", spacing_mm=[4.0, 4.0, 5.0], **STUB)
    predicted = nib.load(tmp_path / "out" / "a.nii.gz")
    assert predicted.affine.tobytes() == nib.load(images / "a.nii.gz").affine.tobytes()
    assert predicted.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(predicted.dataobj), thresholded(hu))


@pytest.mark.parametrize("affine", [LAS, LPS, oblique()], ids=["LAS", "LPS", "oblique"])
def test_prediction_at_another_spacing_agrees_but_for_borders(tmp_path, affine):
    _, label = phantom(1, (24, 22, 20))
    hu = np.select([label == 1, label == 3], [100.0, 190.0], 0.0).astype(np.float32)
    hu[0, 0, 0] = -1000  # air; three whole values from 0 would be a label map
    images = tmp_path / "images"
    images.mkdir()
    nib.save(qform_only(hu, affine), images / "a.nii.gz")
    infer(images, tmp_path / "out", spacing_mm=[3.0, 3.0, 3.0], **STUB)
    predicted = nib.load(tmp_path / "out" / "a.nii.gz")
    assert predicted.affine.tobytes() == nib.load(images / "a.nii.gz").affine.tobytes()
    array, expected = np.asarray(predicted.dataobj), thresholded(hu)
    for lowest in (1, 2):  # everything bright, and the brighter box alone
        ours, truth = array > lowest - 1, expected > lowest - 1
        assert 2 * np.sum(ours & truth) / (ours.sum() + truth.sum()) > 0.85
        middle = [np.mean(np.nonzero(mask), axis=1) for mask in (ours, truth)]
        assert np.abs(middle[0] - middle[1]).max() < 0.2, "shifted"


def test_the_card_says_which_settings_held_until_a_training_went_on_with_others(tmp_path):
    work = make_work_dir(tmp_path)
    folder = work / "segmentation"
    train(work)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (card["batch_size"], card["zoom"], "earlier_settings" in card) == (2, 0.3, False)
    for file in ("checkpoints/epoch_0003.pt", "model.pt"):
        (folder / file).unlink()
    train(work, batch_size=1, zoom=0.1)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (card["batch_size"], card["zoom"]) == (1, 0.1)
    assert card["earlier_settings"] == [{"until_epoch": 2, "batch_size": 2, "zoom": 0.3}]


def test_largest_component_and_skipping(tmp_path):
    hu = np.zeros((20, 20, 20), np.float32)
    hu[3:8, 3:8, 3:8] = 100
    hu[14:16, 14:16, 14:16] = 100
    hu[0, 0, 0] = -1000  # air; two whole values from 0 would be a label map
    images = tmp_path / "images"
    images.mkdir()
    nib.save(nib.Nifti1Image(hu, LAS), images / "a.nii.gz")
    settings = {**STUB, "spacing_mm": [4.0, 4.0, 5.0]}
    infer(images, tmp_path / "out", **{**settings, "keep_largest": True})
    file = tmp_path / "out" / "a.nii.gz"
    assert np.sum(np.asarray(nib.load(file).dataobj) == 1) == 125
    before = file.stat().st_mtime_ns
    infer(images, tmp_path / "out", skip_existing=True, **settings)
    assert file.stat().st_mtime_ns == before
    infer(images, tmp_path / "out", **settings)
    assert np.sum(np.asarray(nib.load(file).dataobj) == 1) == 133


def test_trained_weights_are_used(tmp_path):
    work = make_work_dir(tmp_path)
    train(work, max_epochs=1)
    settings = {key: TINY[key] for key in ("spacing_mm", "patch_size", "architecture", "channels")}
    infer(tmp_path / "images", tmp_path / "out", checkpoint=str(work / "segmentation" / "model.pt"), **settings)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [f"case_{n}.nii.gz" for n in range(3)]


# ------------------------------------------------------------------------------------------------- the files themselves


def test_inference_and_training_describe_the_same_network():
    train_config, inference = read("train.json"), read("inference.json")
    assert train_config["network_def"] == inference["network_def"]
    for key in ("architecture", "channels", "classes", "spacing_mm", "patch_size", "crop_to_body", "modality"):
        assert train_config[key] == inference[key], key
    modes = {"mode": ["bilinear", "nearest"], "keys": ["image", "label"]}
    steps = [step for step in train_config["train"]["deterministic_transforms"] if "Located" not in step["_target_"]]
    for ours, theirs in zip(steps, inference["preprocessing"]["transforms"], strict=False):
        if ours["_target_"].endswith("NormaliseHUd"):  # a cohort's MR is in standard units already
            assert theirs["_target_"].endswith("NormaliseVolumed")
            continue
        if ours["_target_"] == "LoadImaged":  # the same for files that nobody has read yet
            assert issubclass(LoadHeldd, LoadImaged) and theirs["_target_"].endswith(LoadHeldd.__name__)
        else:
            assert ours["_target_"] == theirs["_target_"]
        assert {**ours, **theirs} == {**theirs, **{k: theirs.get(k, v) for k, v in modes.items() if k in ours}}


def through(names, steps, item, **values):
    """What becomes of `item`'s image by the transforms `steps` of a config: (X, Y, Z), and its affine."""
    parser = ConfigParser(read_configs(names))
    parser.read_meta(str(CONFIGS / "metadata.json"))
    settings = {key: TINY[key] for key in ("device", "classes", "spacing_mm", "patch_size")}
    parser.update({**settings, **values})
    transforms = Compose([step for step in parser.get_parsed_content(steps) if step is not None])
    image = transforms(item)["image"]
    return image.numpy()[0], image.affine.numpy()


def test_crops_of_the_body_show_a_training_what_inference_will_show(tmp_path):
    hu = np.full((80, 24, 24), -1000, np.float32)
    hu[15:65, 4:20, 4:20] = np.random.default_rng(0).normal(0, 5, (50, 16, 16))
    label = np.zeros(hu.shape, np.uint8)
    label[18:21, 8:11, 8:11] = 1  # the other end of the body is further away than the paper's crop reaches
    item = {"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "l.nii.gz"), "case": "a", "not_located": []}
    nib.save(nib.Nifti1Image(hu, LAS), item["image"])
    nib.save(nib.Nifti1Image(label, LAS), item["label"])
    train_names, steps = ["train.json", "paper/train.json"], "train#deterministic_transforms"
    seen, affine = through(train_names, steps, item, crop_to_body=True)
    shown, same = through(["inference.json"], "preprocessing#transforms", {"image": item["image"]}, crop_to_body=True)
    assert np.array_equal(seen, shown) and np.array_equal(affine, same)
    assert 50 <= seen.shape[0] < 80
    assert through(train_names, steps, item)[0].shape[0] < 50  # the paper: 100 mm around the label


def test_every_function_a_run_calls_is_imported_also_on_several_gpus():
    for patches in ([], ["multi_gpu/train.json"]):
        merged = read_configs(["train.json", *patches])
        imported = {line.split()[-1] for line in merged["imports"]} | {"monai", "torch", "numpy"}
        for line in [*merged["initialize"], *merged["run"], *merged.get("finalize", [])]:
            called = re.match(r"\$(\w+)[.(]", line)
            assert called is None or called[1] in imported, line


def test_cases_lie_on_the_gpu_only_where_no_other_process_takes_patches_from_them():
    for name in ("train.json", "train_embedding.json"):
        for workers, place in ((0, "meta"), (2, "cpu")):
            config = {
                "num_workers": workers,
                "device": "$torch.device('meta')",
                "cache_device": read(name)["cache_device"],
            }
            assert ConfigParser(config).get_parsed_content("cache_device") == torch.device(place)


def test_patches_are_centred_by_the_labels_before_correction():
    crop = next(step for step in read("train.json")["train"]["random_transforms"] if "RandCrop" in step["_target_"])
    label = torch.zeros(1, 32, 32, 32, dtype=torch.uint8)
    item = {"image": torch.zeros(1, 32, 32, 32), "label": label, "case": "a", "located": torch.ones(2)}
    item["image"][0, 8, 8, 8] = 1.0
    centre = torch.tensor([8 * 32 * 32 + 8 * 32 + 8])
    item["label_centres"] = [centre[:0], centre, centre[:0], centre[:0]]
    settings = {"spatial_size": [5, 5, 5], "num_classes": 4, "ratios": [1, 1, 1, 0], "num_samples": 3}
    config = ConfigParser({"crop": crop | settings})
    for patch in config.get_parsed_content("crop")(item):
        assert patch["image"][0, 2, 2, 2] == 1


def test_inference_is_fit_for_monai_label():
    text = (CONFIGS / "inference.json").read_text(encoding="utf-8")
    assert "_meta_" not in text
    assert "@device." not in text
    assert isinstance(read("inference.json")["network_def"], dict)


def test_no_config_mirrors_left_and_right_or_names_a_machine():
    for name in ("train.json", "multi_gpu/train.json", "inference.json", "evaluate.json"):
        text = (CONFIGS / name).read_text(encoding="utf-8")
        assert "Flip" not in text
        assert not any(path in text for path in ("/home/", "/Users/", "/work/", "/root/"))


def test_evaluate_config(tmp_path, capsys):
    for name in ("labels", "predictions"):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(phantom(0)[1], LAS), tmp_path / name / "a.nii.gz")
    folders = {"predictions_dir": str(tmp_path / "predictions"), "labels_dir": str(tmp_path / "labels")}
    config = workflow("evaluate.json", None, classes=CLASSES, **folders)
    config.run()
    assert "mean Dice over classes 1.000, 1 cases" in capsys.readouterr().out
    assert json.loads((tmp_path / "predictions" / "metrics.json").read_text(encoding="utf-8"))["mean_dice"] == 1.0


def test_metadata_has_what_the_schema_requires():
    metadata = read("metadata.json")
    required = [
        "schema",
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ]
    assert all(metadata[key] for key in required)
    assert metadata["version"] in metadata["changelog"]
    for key in ("network_data_format", "prnet_data_format"):
        for direction in ("inputs", "outputs"):
            for tensor in metadata[key][direction].values():
                assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"} <= set(tensor)
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == ["background", *read("inference.json")["classes"]]
    assert {name: int(k) for k, name in channels.items() if k != "0"} == read("inference.json")["classes"]
    assert "not to be used for diagnostic purposes" in metadata["intended_use"]


@pytest.mark.skipif("BUNDLE_META_SCHEMA" not in os.environ, reason="BUNDLE_META_SCHEMA does not name the schema file")
def test_metadata_validates():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(
        read("metadata.json"), json.loads(Path(os.environ["BUNDLE_META_SCHEMA"]).read_text(encoding="utf-8"))
    )
