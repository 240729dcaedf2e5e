"""The README's commands, table and links hold."""

import argparse
import inspect
import json
import os
import re
import subprocess
import sys

import monai.bundle
import pytest

from bundle.arguments import COMMAND_ALIASES, command_parser
from bundle.command_line import COMMANDS
from bundle.packaging.documents import code_blocks
from bundle.packaging.trials import commands_in
from bundle.pipeline.configs import read_configs, with_paths
from tests.paths import ROOT
from tests.pipeline_fixtures import make_cohort

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = ".venv/bin/python"
INSTALLED = "oneshot-ct"
OLD_COMMANDS = {"region"}  # they work in this version still


def commands():
    """Lines of the code blocks, split as a shell would."""
    return commands_in(README)


def calls_of(module):
    start = [PYTHON, "-m", module]
    return [command[3:] for command in commands() if command[:3] == start]


def config_calls():
    """(config names, other options) of each `python -m monai.bundle run`."""
    calls = []
    for arguments in calls_of("monai.bundle"):
        assert arguments[0] == "run"
        options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
        files = options.pop("--config_file")
        names = re.findall(r"configs/([\w/]+\.json)", files)
        calls.append((names, options))
    return calls


def subcommands():
    """Name -> its parser; a former name is no other command."""
    actions = command_parser()._actions
    action = next(action for action in actions if isinstance(action, argparse._SubParsersAction))
    return {name: parser for name, parser in action.choices.items() if name not in COMMAND_ALIASES}


def test_the_first_two_commands_are_targets_of_the_makefile():
    assert commands()[:2] == [["make", "demo"], ["make", "test"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in ("demo", "test"))


def test_every_command_is_one_this_file_knows_how_to_check():
    known = (["make"], [PYTHON, "-m", "bundle"], [PYTHON, "-m", "monai.bundle"], ["pip", "install", "."], [INSTALLED])
    assert [command for command in commands() if not any(command[: len(start)] == start for start in known)] == []


def test_commands_of_the_bundle_parse():
    installed = [command[1:] for command in commands() if command[0] == INSTALLED]
    assert calls_of("bundle") and installed
    for arguments in calls_of("bundle") + installed:
        options = command_parser().parse_args(arguments)
        assert options.command in COMMANDS and options.old_names == {}


def test_the_table_names_every_command_and_no_other():
    rows = set(re.findall(r"^\| `([\w-]+)` \|", README, flags=re.MULTILINE))
    assert rows == set(subcommands())


def test_options_named_in_the_text_exist():
    helps = [parser.format_help() for parser in subcommands().values()]
    named = set(re.findall(r"`(--[\w-]+)", README))
    known = {
        f"--{name}" for name in [*inspect.signature(monai.bundle.run).parameters, *read_configs(["inference.json"])]
    }
    assert [option for option in named - known if not any(option in text for text in helps)] == []


def test_settings_named_in_the_text_exist():
    for stage, key in re.findall(r"--set ([a-z_]+)\.([a-z_]+)=", README):
        from bundle.pipeline.stages import BASES

        with_paths(BASES[stage], {key: None})


def test_configs_of_plain_bundle_commands_exist_with_their_keys():
    assert config_calls()
    for names, options in config_calls():
        assert all((ROOT / "configs" / name).is_file() for name in names)
        with_paths(names, {key.removeprefix("--"): value for key, value in options.items()})


def test_the_table_of_messages_has_what_monai_says_where_it_finds_no_code_of_ours():
    with pytest.raises(ModuleNotFoundError) as caught:
        monai.bundle.ConfigComponent({"_target_": "scripts.nowhere.network"}).instantiate()
    said = str(caught.value).partition("scripts.")[0] + "scripts."
    assert said.startswith("Cannot locate") and any(
        line.startswith("|") and said in line for line in README.splitlines()
    )


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def run_config_from_the_shell(names, options):
    arguments = [part for key, value in options.items() for part in (key, value)]
    files = json.dumps([f"configs/{name}" for name in names])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_plain_bundle_command_for_prnet_runs(tmp_path):
    names, options = next(call for call in config_calls() if "train_prnet.json" in call[0])
    folder = make_cohort(tmp_path)
    places = {"--dataset_dir": str(folder / "images"), "--output_dir": str(folder / "out")}
    assert set(options) == set(places)
    tiny = {"patch_size": [32, 16, 16], "pooling": 1, "width": 1, "max_epochs": 1, "iterations_per_epoch": 1}
    tiny |= {"validation_count": 0, "volumes_per_batch": 1, "pairs_per_volume": 1, "device": "cpu"}
    run_config_from_the_shell(names, places | {f"--{key}": json.dumps(value).strip('"') for key, value in tiny.items()})
    assert (folder / "out" / "prnet" / "coarse" / "model.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [call for call in config_calls() if "inference.json" in call[0]], ids=lambda c: c[0][-1]
)
def test_the_plain_bundle_commands_for_inference_run(tmp_path, call):
    names, options = call
    folder = make_cohort(tmp_path, 2)
    options |= {name: str(folder / "images") for name in ("--dataset_dir", "--input_dir") if name in options}
    options["--output_dir"] = str(tmp_path / "out")
    run_config_from_the_shell(names, options)
    assert [path.name for path in sorted((tmp_path / "out").glob("*.nii.gz"))] == ["case_0.nii.gz", "case_1.nii.gz"]


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = [block for language, block in code_blocks(README) if language == "python"]
    images = make_cohort(tmp_path, 2) / "images"
    variables = {}
    exec(example.replace("IMAGES", str(images)).replace("CASE", "case_0"), variables)
    assert variables["logits"].shape == (1, 4, *variables["item"]["image"].shape[1:])
