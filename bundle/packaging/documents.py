"""The Markdown pages of a package, and what they link to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)[^)]*\)")  # to files; addresses begin with https: or mailto:
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def linked_files(page: Path) -> list[Path]:
    """Files that a Markdown page links to, whether they exist or not."""
    return [(page.parent / target).resolve() for target in LINK.findall(page.read_text(encoding="utf-8"))]


def with_linked_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Pages of a folder and all that lies in it and is linked from them, directly or not; relative to the folder.

    Args:
        folder: of the pages.
        names: of those to begin with.
    """
    folder = folder.resolve()
    waiting = [folder / name for name in names]
    files: list[Path] = []
    while waiting:
        file = waiting.pop()
        if file in files or not file.is_file() or not file.is_relative_to(folder):
            continue
        files.append(file)
        waiting += linked_files(file) if file.suffix == ".md" else []
    return sorted(file.relative_to(folder) for file in files)


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the code blocks of a Markdown page."""
    return CODE_BLOCK.findall(text)
