"""The house as one can see it: which package may import which, and how much lies in one folder or file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

# Package of `scripts/` -> packages it may import, besides itself and those that `common` and `data` stand for.
ARROWS: dict[str, set[str]] = {
    "common": set(),
    "data": {"common"},
    "networks": {"common"},
    "training": {"common"},
    "points": {"common", "data"},
    "embedding": {"common", "data", "networks"},
    "quality": {"common", "data"},
    "point_propagation": {"common", "data", "networks", "points", "registration"},
    "registration": {"common", "data", "networks", "embedding"},
    "pseudo_labels": {"common", "data", "networks", "points"},
    "segmentation": {"common", "data", "networks", "quality"},
    "label_propagation": {"common", "data", "networks", "points", "embedding", "registration"},
}
MOST_FILES = 15
MOST_LINES = 320
MOST_IMPORTED = 40
DATA_TABLES: set[str] = set()  # files that hold data and no logic


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported_modules(file: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("package", ARROWS)
def test_a_package_imports_only_what_lies_below_it(package):
    allowed = ARROWS[package] | {package}
    for file in python_files(f"scripts/{package}"):
        rooms = {name.split(".")[1] for name in imported_modules(file) if name.startswith("scripts.")}
        assert rooms <= allowed, file.relative_to(ROOT)


def test_every_package_is_in_the_table():
    packages = {path.parent.name for path in (ROOT / "scripts").glob("*/__init__.py")}
    assert packages == set(ARROWS)
    assert [path.name for path in (ROOT / "scripts").glob("*.py")] == ["__init__.py"]


def test_importing_a_package_loads_none_of_its_modules():
    for file in python_files("scripts", "bundle"):
        if file.name == "__init__.py":
            (docstring,) = ast.parse(file.read_text(encoding="utf-8")).body
            assert isinstance(docstring, ast.Expr), f"{file.relative_to(ROOT)} is one docstring"


def test_inference_loads_few_of_our_modules():
    """What `configs/inference.json` needs before the network runs: everything that it imports, packages counted."""
    count = (
        "import sys; import scripts.segmentation.items; print(sum(n.split('.')[0] == 'scripts' for n in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", count], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(run.stdout) <= MOST_IMPORTED


def test_files_import_each_other_in_no_circle():
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in python_files("scripts", "bundle")
    }
    arrows = {name: imported_modules(file) & set(modules) - {name} for name, file in modules.items()}
    while leaves := [name for name, below in arrows.items() if not below & set(arrows)]:
        for name in leaves:
            del arrows[name]
    assert sorted(arrows) == []


@pytest.mark.parametrize("folder", ["scripts", "bundle", "tests"])
def test_no_folder_holds_too_many_files(folder):
    folders = {file.parent for file in python_files(folder)}
    full = {str(place.relative_to(ROOT)): len(set(place.glob("*.py")) - {place / "__init__.py"}) for place in folders}
    assert {name: count for name, count in full.items() if count > MOST_FILES} == {}


def test_no_file_is_too_long():
    lines = {
        str(f.relative_to(ROOT)): len(f.read_text(encoding="utf-8").splitlines())
        for f in python_files("scripts", "bundle")
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES and name not in DATA_TABLES} == {}
