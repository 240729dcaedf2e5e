"""What Windows lacks is not needed: modules of POSIX when ours are imported, names of POSIX but beside another way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import types

import pytest

from bundle.pipeline import state
from scripts.common import files
from tests.paths import ROOT

POSIX_MODULES = ("fcntl", "grp", "posix", "pwd", "pty", "resource", "syslog", "termios", "tty")
POSIX_NAMES = {
    "os": {"chown", "fork", "getgid", "getpgid", "getuid", "kill", "killpg", "mkfifo", "setsid", "statvfs", "uname"}
    | {"sched_getaffinity", "wait", "waitid", "execv", "execve", "geteuid", "getloadavg", "nice"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause"},
}
# Function -> names of POSIX in it, beside which `os.name == "nt"` chooses another way.
CHOSEN = {
    "scripts/common/files.py": {"os.kill"},
    "bundle/monai_label/launch.py": {"os.execve"},
}
IMPORT_ALL = f"""
import builtins, importlib, pathlib, sys
REFUSED = {POSIX_MODULES}
kept = builtins.__import__
def refusing(name, globals=None, *others, **named):
    importer = (globals or {{}}).get("__name__", "")
    if name.split(".")[0] in REFUSED and importer.split(".")[0] in ("bundle", "scripts"):
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return kept(name, globals, *others, **named)
builtins.__import__ = refusing
for file in sorted(path for part in ("scripts", "bundle") for path in pathlib.Path(part).rglob("*.py")):
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    try:
        importlib.import_module(name)
        print(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("monailabel", "dicomweb_client", "python_multipart"):
            raise  # an environment of its own has those
"""


def test_every_module_can_be_imported_without_modules_of_posix():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"scripts.common.files", "bundle.pipeline.state", "bundle.setup_environment"} <= set(done.stdout.split())


def test_an_import_of_ours_that_windows_lacks_would_be_seen():
    code = IMPORT_ALL.replace("importlib.import_module(name)", "exec('import fcntl', {'__name__': name})")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "No module named 'fcntl'" in done.stderr


def test_names_of_posix_stand_only_where_another_way_is_chosen():
    found: dict[str, set[str]] = {}
    for file in sorted(path for part in ("scripts", "bundle") for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, name = node.value.id, node.attr
                if name in POSIX_NAMES.get(module, ()):
                    found.setdefault(str(file.relative_to(ROOT)), set()).add(f"{module}.{name}")
    assert found == CHOSEN
    assert all('os.name == "nt"' in (ROOT / file).read_text(encoding="utf-8") for file in CHOSEN)


@pytest.fixture
def windows(monkeypatch):
    """The system says that it is Windows, and psutil answers of processes."""
    peak = types.SimpleNamespace(memory_info=lambda: types.SimpleNamespace(peak_wset=5 * 2**20))
    fake = types.SimpleNamespace(pid_exists=lambda process: process == 7, Process=lambda: peak)
    monkeypatch.setitem(sys.modules, "psutil", fake)
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this ends the process"))


def test_windows_is_asked_for_processes_without_a_signal(windows, monkeypatch):
    assert files._is_alive(7) and not files._is_alive(8)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert files._is_alive(8), "nobody knows, so nothing of it is removed"


def test_windows_knows_the_peak_of_the_process(windows):
    assert state._peak_memory_of_process_bytes() == 5 * 2**20


@pytest.mark.skipif(os.name == "nt", reason="of other systems")
def test_other_systems_know_the_peak_of_the_process():
    assert 2**20 < state._peak_memory_of_process_bytes() < 2**42
