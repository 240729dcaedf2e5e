import json
import re
from dataclasses import replace

import pytest
import torch

from bundle.config_check import check_values
from bundle.config_values import Component, Expression, typed_overrides
from bundle.memory_remedies import MEMORY_REMEDIES
from bundle.pipeline.aliases import current_overrides
from bundle.pipeline.configs import (
    CONFIGS,
    deciding_values,
    device_override,
    key_path,
    read_component,
    read_configs,
    run_config,
    with_paths,
)
from bundle.pipeline.stages import BASES
from scripts.common.errors import BundleError, UnexpectedError
from scripts.pseudo_labels.settings import GeodesicSettings
from tests.pipeline_fixtures import save, strokes

PRNET = ["train_prnet.json", "small/train_prnet.json"]


def test_later_configs_patch_earlier_ones():
    assert read_configs(["train_prnet.json"])["width"] == 16
    assert read_configs(PRNET)["width"] == 8
    assert read_configs(PRNET)["seed"] == 133


def test_a_patch_changes_what_lies_deeper_and_appends_to_lists():
    several = read_configs(["train.json", "multi_gpu/train.json"])
    assert several["train"]["sampler"]["num_samples"] == "$@samples_per_epoch // int(os.environ['WORLD_SIZE'])"
    assert several["train"]["sampler"]["replacement"] is True
    assert several["initialize"] == ["$seed_run(@seed)", "$join_together(@device)"]


CONFIG = {
    "imports": ["$import os"],
    "width": 16,
    "network": {"_target_": "Network", "_disabled_": False, "width": "@width", "depth": 3, "levels": {"fine": 1.0}},
    "steps": [{"_target_": "Crop", "size": 4, "prob": 0.5}, {"_target_": "Blur", "prob": 0.2}],
    "card": {"kind": "network", "rate": 1.0},
    "optimizer": {"_target_": "Adam", "lr": "@width", "schedule": {"_target_": "Step", "factor": "$1 / 2"}},
    "run": ["$@network.train()"],
}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("width", "width"),
        ("depth", "network#depth"),
        ("levels", "network#levels"),
        ("levels#fine", "network#levels#fine"),
        ("size", "steps#0#size"),
        ("factor", "optimizer#schedule#factor"),
        ("optimizer::schedule::factor", "optimizer#schedule#factor"),
        ("network#_disabled_", "network#_disabled_"),
        ("steps#0#_disabled_", "steps#0#_disabled_"),
        ("steps#1#prob", "steps#1#prob"),
        ("card#rate", "card#rate"),
        ("run#0", "run#0"),
    ],
)
def test_a_key_has_one_full_path(key, path):
    assert key_path(CONFIG, key) == path


def test_a_key_of_several_components_is_refused_with_their_paths():
    with pytest.raises(BundleError, match="several components have the config key 'prob'") as caught:
        key_path(CONFIG, "prob")
    assert caught.value.expected == "steps#0#prob or steps#1#prob"
    assert caught.value.found == "prob"


@pytest.mark.parametrize("key", ["lr", "rate", "fine", "_disabled_", "0", "kind"])
def test_references_and_what_is_no_argument_are_found_by_their_full_path_only(key):
    with pytest.raises(BundleError, match="unknown config key") as caught:
        key_path(CONFIG, key)
    known = "card, depth, factor, levels, network, optimizer, prob, schedule and 3 more"
    assert caught.value.expected == known


def test_overrides_by_their_full_paths_and_the_last_one_counts():
    overrides = {"train#trainer#max_epochs": 1, "weight_decay": 0.1, "optimizer#weight_decay": 0.2, "seed": 3}
    expected = {"train#trainer#max_epochs": 1, "optimizer#weight_decay": 0.2, "seed": 3}
    assert with_paths(["train.json"], overrides) == expected


def test_the_last_one_of_a_path_also_comes_after_what_holds_it():
    overrides = {"settings#most_atlases": 2, "settings": {"most_atlases": 3}, "most_atlases": 4}
    paths = with_paths(["propagation_settings.json", "label_fusion.json"], overrides)
    assert list(paths.items()) == [("settings", {"most_atlases": 3}), ("settings#most_atlases", 4)]


def test_a_key_that_is_typed_again_beats_another_name_of_its_place_between():
    typed = typed_overrides(["label_fusion.most_atlases=1", "label_fusion.settings#most_atlases=2"] * 2)
    assert list(typed["label_fusion"].items()) == [("most_atlases", 1), ("settings#most_atlases", 2)]
    typed = typed_overrides([f"label_fusion.{key}" for key in ("most_atlases=1", "settings#x=2", "most_atlases=3")])
    assert list(typed["label_fusion"].items()) == [("settings#x", 2), ("most_atlases", 3)]
    old_names = {"fusion": {"helpers": 1, "settings#most_atlases": 2}, "label_fusion": {"most_atlases": 3}}
    assert list(current_overrides(old_names)["label_fusion"].items()) == [
        ("settings#most_atlases", 2),
        ("most_atlases", 3),
    ]


def test_a_component_is_built_as_a_run_would():
    settings = read_component(["pseudo_labels.json", "small/pseudo_labels.json"], "settings")
    assert replace(settings, geodesic_spacing_mm=(2.0, 2.0, 2.0)) == GeodesicSettings(
        geodesic_spacing_mm=(2.0, 2.0, 2.0)
    )
    assert read_component(["pseudo_labels.json"], "em_rounds") == GeodesicSettings().em.em_rounds


@pytest.mark.parametrize(
    "key", ["width", "weight_decay", "train#trainer#max_epochs", "train::trainer::max_epochs", "run#0"]
)
def test_known_keys_pass(key):
    with_paths(PRNET, {key: 1})


@pytest.mark.parametrize(
    ("key", "missing", "known"),
    [
        ("max_epoch", "max_epoch", "max_epochs"),
        ("train#trainr", "trainr", "trainer"),
        ("train#nonsense", "nonsense", "trainer"),
        ("train#handlers#99", "99", "0, 1"),
        ("width#deeper", "deeper", "nothing below it"),
    ],
)
def test_unknown_keys_are_refused_with_the_known_ones(key, missing, known):
    with pytest.raises(BundleError, match="unknown config key") as caught:
        with_paths(PRNET, {key: 1})
    assert key in caught.value.problem
    assert caught.value.found == missing
    assert known in caught.value.expected
    assert caught.value.file == str(CONFIGS / "train_prnet.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", 3),
        ("max_epochs", Expression("$1 + 2")),
        ("weight_decay", 0.01),
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
        ("weight_decay", "little", "a number"),
        ("spacing_mm", 4, "three numbers, X, Y, Z"),
        ("spacing_mm", [4, 4], "three numbers, X, Y, Z"),
        ("spacing_mm", [4, 4, "4"], "three numbers, X, Y, Z"),
        ("bfloat16", 1, "true or false"),
        ("network_name", 1, "a text"),
        ("max_epochs", 0, "above 0, such as "),
        ("batch_size", -3, "above 0"),
        ("learning_rate", 0.0, "above 0"),
        ("spacing_mm", [4, 0, 4], "above 0"),
    ],
)
def test_values_of_another_kind_or_of_no_use_are_refused(key, value, expected):
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
    json_file = tmp_path / "elsewhere" / "scores.json"
    run_config(["evaluate.json"], {**folders, "classes": {"spleen": 1}, "json_file": str(json_file)})
    assert "mean Dice over classes 1.000, 1 cases" in capsys.readouterr().out
    assert json_file.is_file(), "by the name that its component alone has"


def test_an_unknown_override_does_not_run(tmp_path):
    with pytest.raises(BundleError, match="unknown config key 'prediction_dir'"):
        run_config(["evaluate.json"], {"prediction_dir": str(tmp_path)})


def test_what_a_component_found_wrong_comes_out_as_it_was(tmp_path):
    folders = {"predictions_dir": str(tmp_path / "nowhere"), "labels_dir": str(tmp_path)}
    with pytest.raises(BundleError, match="the images folder is missing"):
        run_config(["evaluate.json"], folders)


def test_other_errors_are_faults_of_the_program():
    with pytest.raises(UnexpectedError, match=r"\[stage evaluate\]") as caught:
        run_config(["evaluate.json"], {"result": Component({"_target_": "builtins.int", "x": 1})})
    assert caught.value.found.startswith("TypeError: ") and isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("names", "stage", "remedy"),
    [
        (["train.json", "small/train.json"], "train", "segmentation.cache_device=cpu"),
        (["propagation_settings.json", "first_round.json", "small/first_round.json"], "first_round", "spacing_mm"),
        (["propagation_settings.json", "label_fusion.json"], "label_fusion", "label_fusion.device=cpu"),
        (["evaluate.json"], "evaluate", "more memory"),
    ],
)
def test_short_memory_says_which_settings_of_the_stage_to_change(monkeypatch, names, stage, remedy):
    class Greedy:
        def __init__(self, **_):
            pass

        def initialize(self):
            raise RuntimeError("a wrapper") from RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("bundle.pipeline.configs.ConfigWorkflow", Greedy)
    with pytest.raises(BundleError, match="memory is short") as caught:
        run_config(names, {})
    assert caught.value.stage == stage and remedy in caught.value.expected


def test_settings_that_a_remedy_names_exist():
    named = set(re.findall(r"(\w+)\.(\w+)(?==)", " ".join(MEMORY_REMEDIES.values())))
    assert len(named) > 10
    for stage, key in named:
        with_paths(BASES[stage], {key: None})
    assert set(MEMORY_REMEDIES) == {bases[-1].removesuffix(".json") for bases in BASES.values()} - {
        "self_check",
        "choice",
    }


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

    values = deciding_values(config("scripts.networks.prnet", 16))
    assert values == deciding_values(config("scripts.other.network", 16))
    assert values == {"width": 16, "network": {"width": 16, "depth": "$shape(@width)"}}
    assert values != deciding_values(config("scripts.networks.prnet", 8))


PLACED = {
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/runs'",
    "labels_dir": None,
    "checkpoint": "$@bundle_root + '/models/model.pt'",
    "device": "cpu",
    "cache_device": "$@device",
    "cache_workers": 4,
    "num_workers": 0,
    "loader": {"_target_": "scripts.data.load", "path": "@output_dir", "device": "@device", "share": 0.5},
}


@pytest.mark.parametrize(
    "change",
    [
        {"bundle_root": "/elsewhere"},
        {"output_dir": "$@bundle_root + '/elsewhere'"},
        {"checkpoint": "$@output_dir + '/model.pt'"},
        {"device": "cuda:1"},
        {"cache_device": "cpu"},
        {"cache_workers": 1},
    ],
)
def test_where_a_run_works_decides_nothing(change):
    assert deciding_values(PLACED | change) == deciding_values(PLACED)


@pytest.mark.parametrize(
    "change",
    [
        {"labels_dir": "/labels", "why": "another folder is read"},
        {"checkpoint": "/models/other.pt", "why": "another network labels"},
        {"num_workers": 2, "why": "each process draws random numbers of its own"},
        {"loader": {**PLACED["loader"], "share": 0.4}, "why": "a value is a value"},
    ],
    ids=lambda change: change["why"],
)
def test_a_named_folder_and_every_value_decide(change):
    change = {key: value for key, value in change.items() if key != "why"}
    assert deciding_values(PLACED | change) != deciding_values(PLACED)


def test_overrides_have_deciding_values_too():
    overrides = {"cache_device": "cpu", "train#dataset#cache_workers": 1, "labels_dir": "/labels", "max_epochs": 3}
    assert deciding_values(overrides) == {"labels_dir": "/labels", "max_epochs": 3}
