"""Every value stands in the configs once, where it is used, and Python's defaults are the same."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pydoc
import re

import pytest
from monai.bundle import ConfigParser

from bundle.pipeline.configs import CONFIGS, read_configs
from scripts.common.label_channels import UNDECIDED
from scripts.networks.loading import UNSAID
from tests.configs.walk import WHOLE, components, is_value, references
from tests.paths import ROOT

# Keys that a user, a profile or another program names: they stay on top although only one component takes them.
NAMED = {
    *("classes", "background", "support", "scribbles", "support_mask", "accepted", "given"),
    *("largest_component", "keep_largest", "parts"),
    *("patch_size", "architecture", "channels", "geodesic_spacing_mm"),
    *("learning_rate", "lr_step_epochs", "lr_factor", "bfloat16", "cache_workers"),
    *("validation_pairs", "val_interval", "checkpoint_interval"),
    *("gain", "offset", "noise", "plc_interval"),
    *("modality", "bias_correction"),
}
# (config, component or its class, argument, or None for any below) -> why Python's default is another.
OTHERWISE: dict[tuple[str, str, str | None], str] = {
    ("support_mask.json", "settings", None): "strokes grow otherwise than what atlases say, whose values are default",
    ("inference_oneshot.json", "settings", None): "the paper's way",
    ("inference_oneshot.json", "cohort", "minimum_cases"): "one new volume can be labelled",
    ("train.json", "LocatedDiceCELoss", "class_balance"): "the paper's loss",
    ("train.json", "validate#dataset#data", "validation"): "the training's counterpart",
    ("train_prnet.json", "validate#preprocessing#transforms#3", "pairs_per_volume"): "the training's counterpart",
    ("train_prnet.json", "validate#preprocessing#transforms#3", "mask_boxes"): "the training's counterpart",
    ("train_prnet.json", "validate#preprocessing#transforms#3", "fixed_seed"): "the training's counterpart",
}
EVERY_POINT = ("class_limit", "background_limit")  # from Python, nothing is thinned


@pytest.mark.parametrize("names", WHOLE, ids=lambda names: names[-1])
def test_a_value_that_one_argument_takes_stands_there(names):
    config = read_configs(names)
    used, arguments = references(config), [key for _, component in components(config) for key in component]
    whole = {value.removeprefix("@") for _, part in components(config) for value in part.values() if _refers(value)}
    aliases = [key for key, value in config.items() if is_value(value) and key in whole and used.count(key) == 1]
    # A name that several components have as an argument would not say which of them is meant.
    assert [key for key in aliases if not key.endswith("_dir") and arguments.count(key) < 2 and key not in NAMED] == []


def _refers(value):
    return isinstance(value, str) and value.startswith("@")


@pytest.mark.parametrize("names", WHOLE, ids=lambda names: names[-1])
def test_every_value_on_top_is_used(names):
    config = read_configs(names)
    assert [key for key in config if is_value(config[key]) and key not in references(config)] == []


def _defaults(target):
    """Argument -> default of what a `_target_` names, where its constructor is ours."""
    if not target.startswith("scripts."):
        return {}
    made = pydoc.locate(target)
    constructor = made.__init__ if inspect.isclass(made) else made
    ours = getattr(constructor, "__module__", "").startswith("scripts.") or dataclasses.is_dataclass(made)
    if not ours:
        return {}
    values = {name: parameter.default for name, parameter in inspect.signature(made).parameters.items()}
    fields = dataclasses.fields(made) if dataclasses.is_dataclass(made) else ()
    values |= {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
    return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}


def _as_json(value):
    """Tuples are lists there, and 1 is 1.0."""
    return json.loads(json.dumps(value, default=lambda other: repr(other)))


@pytest.mark.parametrize("names", WHOLE, ids=lambda names: names[-1])
def test_defaults_in_python_are_the_configs_values(names):
    config = read_configs(names)
    for path, component in components(config):
        target = component["_target_"]
        for argument, default in _defaults(target).items():
            value = component.get(argument, default)
            value = config.get(value.removeprefix("@"), value) if _refers(value) else value
            parts = path.split("#")
            places = {"#".join(parts[: depth + 1]) for depth in range(len(parts))} | {target.rsplit(".", 1)[-1]}
            reasons = {(names[-1], place, which) for place in places for which in (argument, None)} & OTHERWISE.keys()
            if is_value(value) and not reasons and argument not in EVERY_POINT:
                assert _as_json(value) == _as_json(default), f"{path}#{argument}"


def test_train_json_is_the_recipe_of_the_shipped_network():
    config = read_configs(["train.json"])
    shipped = json.loads((ROOT / "models" / "model.json").read_text(encoding="utf-8"))
    card = UNSAID | {"match_volumes": True} | shipped  # which came after its training
    described = {
        key: ConfigParser(config).get_parsed_content(key) for key in card if key in config["card"] and key in config
    }
    assert set(config["card"]) - set(described) == {"kind", "training_cases"}
    assert described == {key: card[key] for key in described}


def test_undecided_voxels_have_one_value():
    assert read_configs(["train.json"])["undecided_value"] == UNDECIDED


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.json")), ids=lambda file: str(file.relative_to(CONFIGS)))
def test_files_are_indented_by_four_and_short_lists_stand_on_one_line(file):
    text = file.read_text(encoding="utf-8")
    assert all((len(line) - len(line.lstrip(" "))) % 4 == 0 and "\t" not in line for line in text.splitlines())
    assert re.search(r"\[\s*\n\s*(-?\d|true|false|null)", text) is None
    assert text.endswith("}\n")
