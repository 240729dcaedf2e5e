"""`Dockerfile`, `.dockerignore` and `CITATION.cff`: read as their programs read them, as no daemon is at hand here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.repository.test_repository import project

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$")


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    matches = [INSTRUCTION.match(line) for line in lines]
    assert all(matches), "every line begins with an instruction"
    return [(match[1], match[2].strip()) for match in matches if match]


def values(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def hatch() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]


def kept_by_dockerignore() -> set[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*", "what is not named stays out"
    return {line[1:] for line in lines if line.startswith("!")}


def test_it_ends_as_a_user_without_rights_in_the_folder_of_the_data():
    (user,) = values("USER")
    assert int(user) > 0
    assert values("WORKDIR")[-1] == "/data"
    order = [name for name, _ in instructions()]
    assert "RUN" not in order[order.index("USER") :], "nothing is installed as that user"


def test_its_entry_point_is_the_installed_command():
    (entry,), (default,) = values("ENTRYPOINT"), values("CMD")
    assert json.loads(entry) == list(project()["scripts"])
    assert json.loads(default) == ["--help"]


def test_what_is_installed_is_pinned_and_no_place_to_fetch_it_from_is_named():
    (package,) = [run for run in values("RUN") if "pip install" in run]
    assert "--constraint constraints.txt" in package and "/wheel/*.whl" in package
    assert values("ARG") == ["PIP_EXTRA_INDEX_URL"], "pip reads it; unless it is given, pip's own choice"
    assert "http" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all("--no-cache-dir" in run for run in values("RUN") if "pip " in run)


def test_base_images_are_tagged_with_a_python_that_the_project_supports():
    images = [value.split()[0] for value in values("FROM")]
    assert len(set(images)) == 1
    version = re.fullmatch(r"python:3\.(\d+)-slim", images[0])
    assert version and int(version[1]) >= 10


def test_what_is_copied_is_there_and_let_through():
    kept = kept_by_dockerignore()
    assert kept >= {*hatch()["sdist"]["only-include"], *hatch()["wheel"]["only-include"], "pyproject.toml"}
    assert [name for name in kept if not (ROOT / name).exists()] == []
    sources = {source for value in values("COPY") for source in shlex.split(value)[:-1]}
    assert sources <= kept | {"."}


def test_hadolint_finds_nothing_and_would_find_what_is_wrong(tmp_path):
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((ROOT / "Dockerfile").read_text(encoding="utf-8") + "WORKDIR here\n", encoding="utf-8")
    found = [
        subprocess.run([program, "--no-color", str(file)], capture_output=True, text=True).stdout
        for file in (ROOT / "Dockerfile", wrong)
    ]
    assert found[0] == "" and "DL3000" in found[1]


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what the format demands"
    assert (citation["version"], citation["title"]) == (metadata["version"], metadata["name"])
    assert [author["name"] for author in citation["authors"]] == [metadata["authors"]]
    (paper,) = citation["references"]
    assert paper["url"] in metadata["references"][0] and paper["title"] in metadata["references"][0]


def test_the_wheels_version_is_the_bundles():
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert project()["version"] == metadata["version"]
