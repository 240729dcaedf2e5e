"""The wheel: the command `oneshot-ct` works from any folder, and writes nothing where it was installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.common.files import sha256_of_file
from tests.paths import ROOT
from tests.pipeline_fixtures import input_options, make_cohort

LARGEST_MB = 110
COMMAND = "oneshot-ct"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder that stands for site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    run([sys.executable, "-m", "pip", "install", *options, str(wheel)], folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder with a cohort, and with packages of our names that are somebody else's."""
    for name in ("bundle", "scripts", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not this one')\n", encoding="utf-8")
    return make_cohort(tmp_path, 2)


def run(command, folder, **environment) -> str:
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    surroundings |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def oneshot_ct(installed, folder, *arguments) -> str:
    # The folder of the command comes first on Python's path, as for every installed command, not the current one.
    command = [sys.executable, str(installed / "bin" / COMMAND), *map(str, arguments)]
    return run(command, folder, PYTHONPATH=str(installed))


def contents(folder) -> dict[str, str]:
    return {str(file.relative_to(folder)): sha256_of_file(file) for file in folder.rglob("*") if file.is_file()}


def test_the_wheel_holds_this_tree_as_one_package(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"oneshot_ct"}
    shipped = {str(file.relative_to(ROOT)) for part in ("configs", "models") for file in (ROOT / part).rglob("*.*")}
    code = {str(file.relative_to(ROOT)) for part in ("bundle", "scripts") for file in (ROOT / part).rglob("*.py")}
    expected = (shipped | code) - {"bundle/setup_environment.py"}
    assert {f"oneshot_ct/{name}" for name in expected} - set(names) == set()
    assert not any("__pycache__" in name or name.startswith("oneshot_ct/tests") for name in names)
    assert wheel.stat().st_size < LARGEST_MB * 1e6


def test_the_command_works_from_another_folder_and_writes_only_there(installed, elsewhere):
    before = contents(installed)
    version = oneshot_ct(installed, elsewhere, "--version").strip()
    assert f"oneshot_ct_segmentation-{version}.dist-info" in {entry.name for entry in installed.iterdir()}
    assert f"usage: {COMMAND} " in oneshot_ct(installed, elsewhere, "--help")
    assert "segmentation.max_epochs=" in oneshot_ct(installed, elsewhere, "settings", "segmentation", "--small")
    said = oneshot_ct(
        *(installed, elsewhere, "support-mask", *input_options(elsewhere)[:-2]),
        *("--output", "out", "--small", "--set", "support_mask.geodesic_spacing_mm=[4,4,4]"),
    )
    assert f"support mask: {elsewhere}/out/support_mask/case_0.nii.gz" in said
    network = installed / "oneshot_ct" / "models"
    oneshot_ct(installed, elsewhere, "infer", "--images", "images", "--model", network, "--output", "labels")
    assert {file.name for file in (elsewhere / "labels").glob("*.nii.gz")} == {"case_0.nii.gz", "case_1.nii.gz"}
    assert contents(installed) == before


def test_an_installed_package_keeps_its_weights(installed, elsewhere):
    command = [sys.executable, str(installed / "bin" / COMMAND), "benchmark", "default", "--dataset", "d", "--ship"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "an installed package keeps its weights" in done.stderr
