"""Data files that a NRRD or MetaImage header points to."""

from __future__ import annotations

import re
from pathlib import Path

MOST_HEADER_BYTES = 1 << 16
MOST_FILES = 10_000
POINTER = re.compile(r"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.*?)\s*$", re.IGNORECASE)
NUMBERED = re.compile(r"^(.*)%(0?\d{0,2})d(\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?$")


def data_files(header: Path) -> list[Path]:
    """The files that hold the voxels, in order; empty if they lie in the header's own file."""
    with header.open("rb") as file:
        lines = file.read(MOST_HEADER_BYTES).decode("latin-1").splitlines()
    for number, line in enumerate(lines):
        if not line.strip():  # the end of a NRRD header
            break
        if found := POINTER.match(line):
            return [header.parent / name for name in _names(found[1], lines[number + 1 :])]
    return []


def _names(pointer: str, following: list[str]) -> list[str]:
    if pointer.upper() == "LOCAL":
        return []
    if pointer.upper().split()[:1] == ["LIST"]:
        return [line.strip() for line in following if line.strip()][:MOST_FILES]
    if found := NUMBERED.match(pointer):
        before, width, after, first, last, step = found.groups()
        numbers = range(int(first), int(last) + (1 if int(step) > 0 else -1), int(step) or 1)[:MOST_FILES]
        return [f"{before}{format(number, width + 'd')}{after}" for number in numbers]
    return [pointer]
