"""Create `.venv` and fill it with the pinned dependencies, once: `make demo` and `make test` start here.

With the argument `monai-label` it is `.venv-monai-label`, for MONAI Label, which wants versions of its own.

Standard library only, because nothing else is there yet. A stamp holding the hash of `pyproject.toml`, of the pinned
versions and of this file is written last; while it matches, the set-up is skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

try:
    import fcntl
except ImportError:  # Windows: there the set-up is not kept from running twice
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
FOR_MONAI_LABEL = "monai-label" in sys.argv[1:]
CONSTRAINTS = ROOT / ("bundle/monai_label/requirements.txt" if FOR_MONAI_LABEL else "constraints.txt")
ENVIRONMENT = ROOT / (".venv-monai-label" if FOR_MONAI_LABEL else ".venv")
OLDEST, NEWEST = ((3, 11), (3, 11)) if FOR_MONAI_LABEL else ((3, 10), (3, 99))
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENVIRONMENT / "setup.stamp"  # there only when everything below it is complete
BUILDING = ENVIRONMENT / "setup.building"  # there while an environment created here is not complete
GEODISTK_LOG = ENVIRONMENT / "geodistk.log"

# GeodisTK 0.1.7 uses a macro that NumPy 2 removed; which of the three variables counts depends on setuptools.
GEODISTK_FLAG = "-DNPY_IN_ARRAY=NPY_ARRAY_IN_ARRAY"

READ_DEPENDENCIES = """
import json, pathlib, sys
try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib
project = tomllib.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
print(json.dumps(project["dependencies"] + project["optional-dependencies"]["test"]))
"""

FIND_DAMAGED = """
import importlib.metadata
for package in importlib.metadata.distributions():
    if package.read_text("METADATA") is None:
        continue
    files = package.files if package.read_text("RECORD") else None
    if files is None or any(not file.locate().exists() for file in files if file.suffix != ".pyc"):
        print(package.metadata["Name"])
"""


def main() -> None:
    """Leave a complete `.venv` behind, or end with one message that says what to do."""
    with one_at_a_time():
        if STAMP.is_file() and PYTHON.exists() and STAMP.read_text(encoding="utf-8") == fingerprint():
            return
        started = time.monotonic()
        prepare_environment()
        if FOR_MONAI_LABEL:
            install_monai_label()
        else:
            install_dependencies()
        check_environment()
        say("MONAI Label is here." if FOR_MONAI_LABEL else install_geodistk())
        finish()
        say(f"done in {time.monotonic() - started:.0f} s; later runs skip this.")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold off a second set-up started at the same time (a lock on `pyproject.toml`, gone with the process)."""
    if fcntl is None:
        yield
        return
    with PYPROJECT.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running in this folder: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint() -> str:
    """SHA-256 over everything that decides what is installed."""
    digest = hashlib.sha256()
    for file in (PYPROJECT, CONSTRAINTS, Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def prepare_environment() -> None:
    """Have an environment with a working pip: a new one, or the one found, which is completed in place.

    Only an environment whose creation was interrupted is removed, so that one made by hand (with a torch of
    the user's own choice, or in use by another process) is never thrown away.
    """
    if BUILDING.exists():
        say("an earlier set-up was interrupted: starting again.")
        shutil.rmtree(ENVIRONMENT)
    if os.path.lexists(ENVIRONMENT):  # a link that leads nowhere, too
        say(f"completing the {ENVIRONMENT.name} that is here.")
        STAMP.unlink(missing_ok=True)
        fits = f"import pip, sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
        if not PYTHON.exists() or output_of(fits) is None:
            oldest = ".".join(map(str, OLDEST))
            fail(
                f"the {ENVIRONMENT.name} that is here has no working pip, or a Python older than {oldest}.", advice=True
            )
        return
    create_environment()


def create_environment() -> None:
    """Make an empty virtual environment from the Python that runs this file."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        fail(f"MONAI Label wants Python 3.11, this is {sys.version.split()[0]}: name one by PYTHON=python3.11.")
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        fail(
            f"{sys.executable} cannot create virtual environments: install its venv module "
            "(Debian and Ubuntu: the package python3-venv) and run the command again."
        )
    say(f"creating {ENVIRONMENT.name} with Python {sys.version.split()[0]} ...")
    ENVIRONMENT.mkdir()
    BUILDING.touch()
    run([sys.executable, "-m", "venv", str(ENVIRONMENT)], f"creating {ENVIRONMENT.name}")


def install_dependencies() -> None:
    """Install torch first, then what `pyproject.toml` names, all at the versions of `constraints.txt`."""
    install_torch()
    dependencies = output_of(READ_DEPENDENCIES, str(PYPROJECT))
    if dependencies is None:
        fail("pyproject.toml could not be read.")
    say("installing the other dependencies ...")
    pip_install([*json.loads(dependencies), "setuptools", "wheel"])


def install_torch() -> None:
    """Install torch alone, at its pinned version."""
    # By its exact version and before anything that needs it: otherwise pip may choose a newer one with several
    # gigabytes of CUDA packages. A build of the same version that is already in .venv (2.13.0+cpu, +cu130, ...)
    # is kept. So for another build: python3 -m venv .venv, install that torch into it as the installation page
    # of PyTorch says, then run make.
    torch = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    say(f"installing {torch} (this can take some minutes) ...")
    pip_install([torch])


def install_monai_label() -> None:
    """Install exactly what `bundle/monai_label/requirements.txt` lists."""
    install_torch()
    say("installing MONAI Label and what it needs ...")
    pip_install(["--no-deps", "--requirement", str(CONSTRAINTS)])


def check_environment() -> None:
    """Stop when a package is only half there: an interrupted pip leaves no, or a false, list of files."""
    damaged = output_of(FIND_DAMAGED)
    if damaged is None or damaged.split():
        fail(f"packages in {ENVIRONMENT.name} are damaged: {', '.join((damaged or 'all').split())}.", advice=True)


def install_geodistk() -> str:
    """Build GeodisTK where that is possible; the bundle's own geodesic distance needs none.

    Returns:
        One sentence that says what became of it.
    """
    pin = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("GeodisTK=="))
    without = "the bundle's own geodesic distance is used; nothing else is missing."
    if output_of("import GeodisTK") is not None:
        return f"{pin} is here."
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return f"no C++ compiler, so {pin} (optional) is not built: {without}"
    flags = {name: f"{os.environ.get(name, '')} {GEODISTK_FLAG}".strip() for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS")}
    command = pip_command([pin, "--no-build-isolation", "--no-deps"])
    with GEODISTK_LOG.open("w") as log:
        built = subprocess.run(
            command, env={**os.environ, **flags}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    if built.returncode == 0 and output_of("import GeodisTK") is not None:
        return f"{pin} is built."
    return f"{pin} (optional) could not be built (see {GEODISTK_LOG.relative_to(ROOT)}): {without}"


def finish() -> None:
    """Declare the environment complete; killed between the two lines, the next run only completes it in place."""
    BUILDING.unlink(missing_ok=True)
    partial = STAMP.with_suffix(".partial")
    partial.write_text(fingerprint())
    partial.replace(STAMP)


def pip_command(arguments: list[str]) -> list[str]:
    """Command line of a pinned, quiet `pip install` in `.venv`."""
    # -I: packages that PYTHONPATH shows must not count as installed.
    quiet = ["--quiet", "--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location"]
    return [str(PYTHON), "-I", "-m", "pip", "install", *quiet, "--constraint", str(CONSTRAINTS), *arguments]


def pip_install(requirements: list[str]) -> None:
    """Install requirements into `.venv` at the pinned versions."""
    run(pip_command(requirements), f"installing {requirements[0]}{' and others' if requirements[1:] else ''}")


def run(command: list[str], purpose: str) -> None:
    """Run a command and end the set-up when it fails."""
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode != 0:
        fail(f"{purpose} failed (the lines above say why); run the command again when that is mended.")


def output_of(code: str, *arguments: str) -> str | None:
    """What a piece of Python prints in `.venv`, or None when it fails there."""
    done = subprocess.run(
        [str(PYTHON), "-I", "-c", code, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return done.stdout if done.returncode == 0 else None


def say(sentence: str) -> None:
    """Print one line of progress at once."""
    print(f"set-up: {sentence}", flush=True)


def fail(sentence: str, advice: bool = False) -> NoReturn:
    """End with one message, and with the way out where it is to make `.venv` anew."""
    way_out = f" `make clean` removes {ENVIRONMENT.name}; then run the command again." if advice else ""
    sys.exit(f"set-up: {sentence}{way_out}")


if __name__ == "__main__":
    main()
