"""MONAI Label takes the package `scripts` out of the server whenever it serves a bundle: another's may follow."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.paths import ROOT

# What `monailabel.utils.others.class_utils.unload_module` of version 0.8.5 does.
AS_MONAI_LABEL = """
def unload_module(name):
    for module in sorted(sys.modules):
        if module == name or module.startswith(f"{name}."):
            del sys.modules[module]
"""
OF_MONAI_LABEL = "from monailabel.utils.others.class_utils import unload_module"
SERVED = """
import importlib, pathlib, sys
root, other = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(root))
for file in sorted((root / "scripts").rglob("*.py")):
    importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
from bundle.monai_label import commands, launch, names, results, strokes, submissions
from bundle.packaging import assembly, model_card
{unload}
unload_module("scripts")
ours = [name for name, module in sys.modules.items() if str(root / "scripts") in str(getattr(module, "__file__", ""))]
assert ours == [], ours
sys.path.insert(0, str(other))
from scripts.common.errors import OWNER
from scripts.data import OWNER as owner_of_data
assert OWNER == owner_of_data == "another bundle"
theirs = {{name for name in sys.modules if name.split(".")[0] == "scripts"}}
assert theirs == {{"scripts", "scripts.common", "scripts.common.errors", "scripts.data"}}, theirs

class Studies:
    def list_images(self):
        return []

try:
    submissions.read_task(Studies(), other)
except submissions.BundleError as error:
    assert "no study has strokes" in str(error)
assert theirs == {{name for name in sys.modules if name.split(".")[0] == "scripts"}}
"""


@pytest.fixture
def other_bundle(tmp_path):
    """A bundle whose package `scripts` has names of ours and an owner of its own."""
    for place in ("scripts/__init__.py", "scripts/common/__init__.py", "scripts/common/errors.py", "scripts/data.py"):
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('OWNER = "another bundle"\n', encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("unload", [AS_MONAI_LABEL, OF_MONAI_LABEL], ids=["as_monai_label", "of_monai_label"])
def test_after_unloading_another_bundles_scripts_meet_none_of_ours(other_bundle, unload):
    if unload == OF_MONAI_LABEL:
        pytest.importorskip("monailabel")
    command = [sys.executable, "-c", SERVED.format(unload=unload), str(ROOT), str(other_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=other_bundle)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("folder", ["scripts", "bundle/monai_label", "bundle/packaging"])
def test_nothing_of_scripts_is_imported_later_than_its_module(folder):
    """Inside a function it could be another bundle's."""
    late = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for node in (inner for function in functions for inner in ast.walk(function)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            late += [f"{file.name}:{node.lineno}" for name in names if name.split(".")[0] in ("scripts", "bundle")]
    assert late == []
