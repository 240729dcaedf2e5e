"""Which pages go into a package with those that link to them, and what names its code defines."""

import pytest

from bundle.packaging.code_rules import is_defined, modules_of
from bundle.packaging.documents import code_blocks, linked_files, with_linked_files


def write(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


def test_links_to_files_without_addresses_and_places_in_the_page(tmp_path):
    text = "[a](b.md) [c](images/d.svg#part) [e](https://example.org/f.md) [g](#here) [h](mailto:i@example.org)"
    write(tmp_path, a=text)
    assert linked_files(tmp_path / "a.md") == [tmp_path / "b.md", tmp_path / "images" / "d.svg"]


def test_pages_come_with_what_they_link_to_however_far_but_not_from_elsewhere(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    write(docs, a="[b](b.md)", b="[c](c.md) [a](a.md) [outside](../d.md) [gone](e.md)", c="", f="")
    write(tmp_path, d="")
    assert [file.name for file in with_linked_files(docs, ["a.md"])] == ["a.md", "b.md", "c.md"]


def test_code_blocks_with_their_language():
    text = "```\nmake demo\n```\ntext\n```python\nx = 1\n```\n"
    assert code_blocks(text) == [("", "make demo\n"), ("python", "x = 1\n")]


@pytest.mark.parametrize(
    ("name", "defined"),
    [
        ("scripts", True),
        ("scripts.data", True),
        ("scripts.data.cohort", True),
        ("scripts.data.cohort.Cohort", True),
        ("scripts.data.cohort.Cohort.split", True),
        ("scripts.data.cohort.STAGE", True),
        ("scripts.data.cohort.LOW", True),
        ("scripts.data.cohort.read", True),
        ("scripts.data.cohort.gone", False),
        ("scripts.data.gone", False),
        ("scripts.gone.cohort", False),
    ],
)
def test_names_that_modules_define_are_found_without_importing_them(tmp_path, name, defined):
    package = tmp_path / "scripts" / "data"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text('"""A package."""\n')
    code = "from os import read\nSTAGE: str = 'a'\nLOW, HIGH = 0, 1\nclass Cohort:\n    pass\nraise SystemExit\n"
    (package / "cohort.py").write_text(code)
    assert is_defined(name, modules_of(tmp_path)) == defined
