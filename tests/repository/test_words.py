"""Names agree: of modules in the docs with the files that exist, of things in the code with the field's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bundle.packaging.code_rules import is_defined, modules_of
from tests.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Words of a private language that the field has others for (vocabulary of docs/development.md).
FORBIDDEN = {
    *("voter", "voters", "voice", "voices", "witness", "witnesses", "sureness", "strangers", "carried"),
    *("neck", "necks", "votes", "helper", "helpers", "came_back"),
}
# Those that have no other sense, and so do not stand in comments and messages either.
FORBIDDEN_IN_PROSE = re.compile(r"\b(voters?|witness(es)?|sureness|strangers)\b", re.IGNORECASE)
# Files that may use them, and why.
EXCEPTIONS = {
    "bundle/pipeline/aliases.py": "names that older settings use",
    "bundle/arguments.py": "options of the version before",
}


def paths_in(text: str) -> set[str]:
    """Python files and folders of code, configs and tests that a page names."""
    return set(re.findall(r"(?<![\w/.-])(?:scripts|bundle|tests|configs)/[\w/]*\w(?:\.\w+)?", text)) | set(
        re.findall(r"(?<![\w/.-])\w+(?:/\w+)+\.py\b", text)
    )


def exists(path: str) -> bool:
    """From the root, or as `method.md` shortens it."""
    return any((ROOT / start / path).exists() for start in ("", "scripts", "bundle"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_docs_exist(page):
    assert sorted(path for path in paths_in(page.read_text(encoding="utf-8")) if not exists(path)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_named_in_the_docs_exist(page):
    modules = modules_of(ROOT)
    names = set(re.findall(r"\bscripts(?:\.\w+)+", page.read_text(encoding="utf-8")))
    assert sorted(name for name in names if not is_defined(name, modules)) == []


def test_paths_are_read_from_prose():
    text = "See `scripts/data/case.py`, (`networks/prnet.py`), scripts/points. `pseudo_labels/ID.json` configs/a.json"
    assert paths_in(text) == {"scripts/data/case.py", "networks/prnet.py", "scripts/points", "configs/a.json"}


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a file gives or uses."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.arg, ast.keyword)):
            yield node.arg or ""
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from (*node.name.split("."), node.asname or "")


def words_of(name: str) -> set[str]:
    """`_SureVoter.came_back` -> sure, voter, came, back, sure_voter, came_back."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    return {*words, *("_".join(pair) for pair in pairwise(words))}


@pytest.mark.parametrize("folder", ["scripts", "bundle"])
def test_names_in_the_code_are_the_fields_words(folder):
    wrong = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        names = {
            name for name in identifiers(ast.parse(file.read_text(encoding="utf-8"))) if words_of(name) & FORBIDDEN
        }
        if names and place not in EXCEPTIONS:
            wrong[place] = sorted(names)
    assert wrong == {}


@pytest.mark.parametrize("folder", ["scripts", "bundle"])
def test_so_are_those_in_comments_and_messages(folder):
    wrong = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        words = {match.group() for match in FORBIDDEN_IN_PROSE.finditer(file.read_text(encoding="utf-8"))}
        if words and place not in EXCEPTIONS:
            wrong[place] = sorted(words)
    assert wrong == {}


@pytest.mark.parametrize("place", EXCEPTIONS)
def test_every_exception_is_a_file(place):
    assert (ROOT / place).is_file(), f"{place} ({EXCEPTIONS[place]}) is gone: so is its exception"


def test_names_are_taken_apart_into_words():
    assert words_of("_BestVoters") == {"best", "voters", "best_voters"}
    assert words_of("bottleneck") & FORBIDDEN == set() and words_of("headneck_ct") & FORBIDDEN == set()
    assert words_of("came_back_dice") & FORBIDDEN == {"came_back"}
    tree = ast.parse("def voter(neck): carried.votes = f(helper=1)\nfrom a import witness as strangers\n")
    assert {"voter", "neck", "carried", "votes", "helper", "witness", "strangers"} <= set(identifiers(tree))


def test_file_names_are_the_fields_words():
    files = [Path(file.stem) for folder in ("scripts", "bundle") for file in (ROOT / folder).rglob("*.py")]
    assert [str(file) for file in files if words_of(str(file)) & FORBIDDEN] == []
