"""Promises of the repository itself: what it may hold, what its files may say, and that they agree."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version

from tests.paths import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

LARGEST_FILE_BYTES = 25 * 1000 * 1000
LONGEST_EXPRESSION = 120
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TOP_LEVEL = {
    *(".ci", ".dockerignore", ".gitattributes", ".gitignore", "CITATION.cff", "Dockerfile", "LICENSE", "Makefile"),
    *("README.md", "constraints.txt", "pyproject.toml"),
    *("bundle", "configs", "docs", "models", "scripts", "tests"),
}


def repository_files(*folders: str) -> list[Path]:
    """Files git tracks or would track, relative to the root; all of them, or those in the given folders."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [file for file in files if not folders or file.parts[0] in folders]


def text_of(file: Path) -> str:
    return (ROOT / file).read_text(encoding="utf-8", errors="ignore")


def weights() -> list[Path]:
    found = [file for file in repository_files("models") if file.suffix == ".pt"]
    return found or pytest.skip("no weights in models/ yet")


def strings_in(value: object) -> Iterator[str]:
    """Every string of a parsed JSON file, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def config_strings() -> list[tuple[str, str]]:
    files = [file for file in repository_files("configs") if file.suffix == ".json"]
    return [(file.name, text) for file in files for text in strings_in(json.loads(text_of(file)))]


def test_top_level_holds_only_the_agreed_names():
    assert {file.parts[0] for file in repository_files()} - TOP_LEVEL == set()


def test_no_file_is_larger_than_25_mb():
    large = [str(file) for file in repository_files() if (ROOT / file).stat().st_size > LARGEST_FILE_BYTES]
    assert large == []


def test_no_link_is_tracked():
    """Not even an environment's, which a fresh clone could neither use nor make anew."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [line for line in listed.splitlines() if line.startswith("120000")] == []


def test_no_volume_is_tracked():
    volumes = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
    assert [str(file) for file in repository_files() if file.name.lower().endswith(volumes)] == []


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.])/(home|Users|work)/")
    readable = {".py", ".json", ".md", ".txt", ".toml", ".csv", ".conf", ".html", ".svg", ""}
    files = [file for file in repository_files() if file.parts[0] != "tests" and file.suffix in readable]
    assert [str(file) for file in files if place.search(text_of(file))] == []


def test_set_up_names_no_package_registry():
    address = re.compile(r"https?://|index-url|find-links|trusted-host")
    files = ["Makefile", "constraints.txt", ".ci/run", "bundle/setup_environment.py"]
    assert [file for file in files if address.search(text_of(Path(file)))] == []


def test_licence_is_apache_2():
    assert "Apache License" in text_of(Path("LICENSE"))
    assert "Version 2.0" in text_of(Path("LICENSE"))


def test_model_pt_has_the_shortest_name():
    """MONAI Label loads the checkpoint with the shortest name in models/, whatever the request means."""
    names = [file.name for file in weights() if len(file.parts) == 2]
    others = [name for name in names if name != "model.pt"]
    assert all(len(name) > len("model.pt") for name in others), others
    assert "model.pt" in names or others == []


def test_weights_are_flat_state_dicts_of_tensors():
    for file in weights():
        state = torch.load(ROOT / file, map_location="cpu", weights_only=True)
        assert isinstance(state, dict), file
        assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()), file


def test_weights_have_a_card():
    for file in weights():
        card = (ROOT / file).with_suffix(".json")
        assert card.is_file(), f"{file} has no {card.name} beside it"
        assert isinstance(json.loads(card.read_text(encoding="utf-8")), dict), card


def test_the_shipped_network_is_what_the_inference_config_describes():
    card, config = (
        json.loads((ROOT / file).read_text(encoding="utf-8"))
        for file in ("models/model.json", "configs/inference.json")
    )
    for key in ("classes", "spacing_mm", "patch_size", "architecture", "channels", "crop_to_body"):
        assert card[key] == config[key], key


def test_the_metadata_have_the_shipped_networks_score():
    card, metadata = (
        json.loads((ROOT / file).read_text(encoding="utf-8")) for file in ("models/model.json", "configs/metadata.json")
    )
    assert metadata["eval_metrics"] == {"mean_dice": round(card["scores"]["mean_dice"]["one_shot"], 2)}
    (row,) = re.findall(r"^\| this network, .*$", text_of(Path("docs/README.md")), flags=re.MULTILINE)
    assert row.split("|")[-2].strip() == str(metadata["eval_metrics"]["mean_dice"])


def imported_packages(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (name for name in names if name)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


@pytest.mark.parametrize(
    "line",
    [
        "import bundle",
        "import bundle.report as r",
        "from bundle import x",
        "from ..bundle import x",
        "from .. import bundle",
    ],
)
def test_imports_of_bundle_are_seen(line):
    assert [name.split(".")[0] for name in imported_packages(ast.parse(line))] == ["bundle"]


def test_scripts_never_import_bundle():
    for file in repository_files("scripts"):
        if file.suffix == ".py":
            packages = {name.split(".")[0] for name in imported_packages(ast.parse(text_of(file)))}
            assert "bundle" not in packages, file


def test_configs_never_use_bundle():
    assert [item for item in config_strings() if re.match(r"(\$.*\b)?bundle\.", item[1])] == []


def test_config_expressions_are_short():
    long = [item for item in config_strings() if item[1].startswith("$") and len(item[1]) > LONGEST_EXPRESSION]
    assert long == []


def project() -> dict:
    return tomllib.loads(text_of(Path("pyproject.toml")))["project"]


def pins(python: str) -> dict[str, str]:
    """Package -> exact version that `constraints.txt` gives to one Python."""
    lines = [line.split("#")[0].strip() for line in text_of(Path("constraints.txt")).splitlines()]
    found: dict[str, str] = {}
    for requirement in (Requirement(line) for line in lines if line):
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        assert normal(requirement.name) not in found, f"{requirement.name} is pinned twice for Python {python}"
        found[normal(requirement.name)] = pin.version
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_dependency(python):
    extras = project()["optional-dependencies"]
    assert all("==" in requirement for requirement in extras["rivals"]), "pinned where they are named"
    named = list(chain(project()["dependencies"], *(extras[name] for name in extras if name != "rivals")))
    pinned = pins(python)
    for requirement in map(Requirement, named):
        assert normal(requirement.name) in pinned, f"{requirement.name} is not pinned for Python {python}"
        assert requirement.specifier.contains(Version(pinned[normal(requirement.name)])), requirement


def test_pinned_torch_and_monai():
    assert (pins("3.11")["torch"], pins("3.11")["monai"]) == ("2.13.0", "1.6.1")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of(Path("Makefile")), flags=re.MULTILINE))


def test_makefile_has_the_promised_targets():
    assert {"help", "setup", "demo", "test", "lint", "clean"} <= make_targets()


def test_lint_checks_style_formatting_and_types():
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", text_of(Path("Makefile")), flags=re.MULTILINE)
    commands = [line.split(" -m ")[1] for line in recipe.splitlines()]
    assert commands == ["ruff check .", "ruff format --check .", "mypy"]


def test_readme_commands_are_make_targets():
    if not (ROOT / "README.md").is_file():
        pytest.skip("no README.md yet")
    blocks = re.findall(r"```\w*\n(.*?)```", text_of(Path("README.md")), flags=re.DOTALL)
    used = set(re.findall(r"^\$?\s*make ([a-z-]+)", "\n".join(blocks), flags=re.MULTILINE))
    assert {"demo", "test"} <= used
    assert used <= make_targets()


def test_ci_runs_lint_and_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run is not executable"
    assert re.findall(r"^make ([a-z]+)", text_of(Path(".ci/run")), flags=re.MULTILINE) == ["lint", "test"]
