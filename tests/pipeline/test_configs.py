import json

import pytest
import torch

from bundle.pipeline.configs import (
    CONFIGS,
    check_keys,
    check_values,
    deciding_values,
    device_override,
    read_component,
    read_configs,
    run_config,
)
from scripts.common.errors import BundleError
from scripts.pseudo_labels.settings import GeodesicSettings
from tests.pipeline_fixtures import save, strokes

PRNET = ["train_prnet.json", "small/train_prnet.json"]


def test_later_configs_patch_earlier_ones():
    assert read_configs(["train_prnet.json"])["width"] == 16
    assert read_configs(PRNET)["width"] == 8
    assert read_configs(PRNET)["seed"] == 133


def test_a_component_is_built_as_a_run_would():
    settings = read_component(["pseudo_labels.json", "small/pseudo_labels.json"], "settings")
    assert settings == GeodesicSettings(spacing_mm=(2.0, 2.0, 2.0))


@pytest.mark.parametrize("key", ["width", "train#trainer#max_epochs", "train::trainer::max_epochs", "run#0"])
def test_known_keys_pass(key):
    check_keys(PRNET, {key: 1})


@pytest.mark.parametrize(
    ("key", "missing", "known"),
    [
        ("nonsense", "nonsense", "width"),
        ("train#nonsense", "nonsense", "trainer"),
        ("train#handlers#99", "99", "0, 1"),
        ("width#deeper", "deeper", "nothing below it"),
    ],
)
def test_unknown_keys_are_refused_with_the_known_ones(key, missing, known):
    with pytest.raises(BundleError, match="unknown config key") as caught:
        check_keys(PRNET, {key: 1})
    assert key in caught.value.problem
    assert caught.value.found == missing
    assert known in caught.value.expected
    assert caught.value.file == str(CONFIGS / "train_prnet.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", 3),
        ("max_epochs", "$1 + 2"),
        ("learning_rate", 1),
        ("spacing_mm", [2, 2, 3.5]),
        ("box_mm", [1.0, 2.0, 3.0]),
        ("bfloat16", False),
        ("network_name", "other"),
        ("output_dir", 5),
    ],
)
def test_values_of_the_same_kind_pass(key, value):
    check_values(PRNET, {key: value})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_epochs", "many", "a whole number, such as "),
        ("max_epochs", 1.5, "a whole number"),
        ("max_epochs", True, "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("spacing_mm", 4, "three numbers, X, Y, Z"),
        ("spacing_mm", [4, 4], "three numbers, X, Y, Z"),
        ("spacing_mm", [4, 4, "4"], "three numbers, X, Y, Z"),
        ("bfloat16", 1, "true or false"),
        ("network_name", 1, "a text"),
    ],
)
def test_values_of_another_kind_are_refused(key, value, expected):
    with pytest.raises(BundleError, match=f"config key '{key}' cannot have this value") as caught:
        check_values(PRNET, {key: value})
    assert str(caught.value.expected).startswith(expected)
    assert caught.value.found == json.dumps(value)


def test_a_list_that_is_no_point_may_have_any_length():
    check_values(["train.json"], {"channels": [4, 8]})


def test_running_a_config_with_overrides(tmp_path, capsys):
    for name in ("labels", "predictions"):
        save(tmp_path / name / "a.nii.gz", strokes())
    folders = {"predictions_dir": str(tmp_path / "predictions"), "labels_dir": str(tmp_path / "labels")}
    run_config(["evaluate.json"], {**folders, "classes": {"spleen": 1}})
    assert "mean Dice over classes 1.000, 1 cases" in capsys.readouterr().out


def test_an_unknown_override_does_not_run(tmp_path):
    with pytest.raises(BundleError, match="unknown config key 'prediction_dir'"):
        run_config(["evaluate.json"], {"prediction_dir": str(tmp_path)})


def test_what_a_component_found_wrong_comes_out_as_it_was(tmp_path):
    folders = {"predictions_dir": str(tmp_path / "nowhere"), "labels_dir": str(tmp_path)}
    with pytest.raises(BundleError, match="the images folder is missing"):
        run_config(["evaluate.json"], folders)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match=r"builtins\.int") as caught:
        run_config(["evaluate.json"], {"result": {"_target_": "builtins.int", "x": 1}})
    assert not isinstance(caught.value, BundleError)
    assert isinstance(caught.value.__cause__, TypeError)


def test_device():
    assert device_override(None) == {}
    assert device_override("cpu") == {"device": "$torch.device('cpu')"}
    with pytest.raises(BundleError, match="this device cannot be used") as caught:
        device_override("gpu")
    assert caught.value.found == "gpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there():
    with pytest.raises(BundleError, match="this device cannot be used"):
        device_override("cuda:0")


def test_a_moved_or_renamed_class_decides_nothing_and_every_value_does():
    def config(target, width):
        return {
            "imports": [f"$from {target} import shape"],
            "width": width,
            "network": {"_target_": f"{target}.Network", "width": "@width", "depth": f"${target}.shape(@width)"},
            "run": [f"${target}.train(@network)"],
        }

    found = deciding_values(config("scripts.networks.prnet", 16))
    assert found == deciding_values(config("scripts.networks.prnet", 16))
    assert found == {"width": 16, "network": {"width": 16, "depth": "$shape(@width)"}}
    assert found != deciding_values(config("scripts.networks.prnet", 8))
