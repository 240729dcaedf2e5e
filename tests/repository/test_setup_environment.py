"""The set-up's decisions, with nothing downloaded: skip, start again, complete in place, and what it says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from tests.paths import ROOT

pytest.importorskip("fcntl")
SOURCE = ROOT / "bundle" / "setup_environment.py"


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """The set-up script as a module whose `.venv` lies in a temporary folder and whose steps only note their name."""
    spec = importlib.util.spec_from_file_location("setup_environment", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    environment = tmp_path / ".venv"
    for name, value in {
        "ENVIRONMENT": environment,
        "PYTHON": environment / "bin" / "python",
        "STAMP": environment / "setup.stamp",
        "BUILDING": environment / "setup.building",
    }.items():
        monkeypatch.setattr(module, name, value)
    module.steps = []
    monkeypatch.setattr(module, "run", lambda command, purpose: module.steps.append(purpose))
    monkeypatch.setattr(module, "install_dependencies", lambda: module.steps.append("dependencies"))
    monkeypatch.setattr(module, "check_environment", lambda: None)
    monkeypatch.setattr(module, "install_geodistk", lambda: "GeodisTK is built.")
    return module


def put_python(setup) -> None:
    setup.PYTHON.parent.mkdir(parents=True, exist_ok=True)
    setup.PYTHON.symlink_to(sys.executable)


def test_fresh_set_up_leaves_a_stamp_and_no_marker(setup):
    setup.main()
    assert setup.steps == ["creating .venv", "dependencies"]
    assert setup.STAMP.read_text(encoding="utf-8") == setup.fingerprint()
    assert not setup.BUILDING.exists()


def test_second_run_does_nothing(setup):
    setup.main()
    put_python(setup)
    setup.steps.clear()
    setup.main()
    assert setup.steps == []


def test_interrupted_set_up_starts_again(setup, capsys):
    setup.ENVIRONMENT.mkdir()
    setup.BUILDING.touch()
    (setup.ENVIRONMENT / "half").touch()
    setup.main()
    assert setup.steps == ["creating .venv", "dependencies"]
    assert not (setup.ENVIRONMENT / "half").exists()
    assert "interrupted: starting again" in capsys.readouterr().out


def test_interruption_leaves_the_marker_and_no_stamp(setup, monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "install_dependencies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup.main()
    assert setup.BUILDING.exists()
    assert not setup.STAMP.exists()


def test_environment_made_by_hand_is_completed_not_replaced(setup, capsys):
    put_python(setup)
    (setup.ENVIRONMENT / "own").touch()
    setup.main()
    assert setup.steps == ["dependencies"]
    assert (setup.ENVIRONMENT / "own").exists()
    assert "completing the .venv that is here" in capsys.readouterr().out


def test_environment_without_python_is_refused(setup):
    setup.ENVIRONMENT.mkdir()
    with pytest.raises(SystemExit, match=r"no working pip, or a Python older than 3\.10\. `make clean` removes"):
        setup.main()


def test_environment_that_is_a_link_to_nowhere_is_refused(setup, tmp_path):
    setup.ENVIRONMENT.symlink_to(tmp_path / "gone")
    with pytest.raises(SystemExit, match="has no working pip"):
        setup.main()


def test_python_without_venv_is_told_so(setup, monkeypatch):
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="cannot create virtual environments: install its venv module"):
        setup.main()
    assert not setup.ENVIRONMENT.exists()


def test_everything_that_tests_and_lint_need_is_installed(setup):
    command = [sys.executable, "-c", setup.READ_DEPENDENCIES, str(setup.PYPROJECT)]
    named = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    packages = {re.match(r"[\w-]+", requirement).group() for requirement in named}
    assert {"torch", "monai", "pytest", "pytest-cov", "ruff", "mypy"} <= packages
