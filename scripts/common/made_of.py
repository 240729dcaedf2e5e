"""What a result was made of, and whether it is whole: the one question that decides if it is made again.

A record is a JSON file beside the files it speaks of, written last: `inputs` is the fingerprint of everything that they
depend on, `files` names each of them with its size and hash.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, sha256_of_settings, write_json

logger = logging.getLogger(__name__)


def fingerprint(inputs: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-serialisable value, independent of key order."""
    return sha256_of_settings(inputs)


def write_record(record: str | Path, content: Mapping[str, Any], inputs: str, files: Iterable[str | Path]) -> None:
    """Write a record; its files, in the same folder or below, are there already.

    Args:
        record: the JSON file.
        content: what else it says.
        inputs: see `fingerprint`.
        files: that it speaks of.
    """
    folder = Path(record).parent
    facts = {str(Path(file).relative_to(folder)): _facts(Path(file)) for file in files}
    write_json(record, {**content, "inputs": inputs, "files": facts})


def is_whole(record: str | Path, inputs: str) -> bool:
    """Whether a record names these inputs and its files are as it says; what is damaged or missing is logged."""
    record = Path(record)
    if not record.exists():
        return False
    try:
        content = read_json(record)
        if content["inputs"] != inputs:
            return False
        files = dict(content["files"])
    except (BundleError, KeyError, TypeError, ValueError):
        logger.warning("%s is damaged; what it records is made again", record)
        return False
    written_ns = record.stat().st_mtime_ns
    damaged = [name for name, facts in files.items() if not _is_as_recorded(record.parent / name, facts, written_ns)]
    if damaged:
        logger.warning("%s: missing or damaged: %s; made again", record.parent, ", ".join(damaged))
    return not damaged


def recorded_hash(record: str | Path, file: str | Path) -> str:
    """Hash of one of a record's files, without reading that; of a file that no record names, as it is."""
    try:
        return str(read_json(record)["files"][Path(file).name]["sha256"])
    except (BundleError, KeyError, TypeError):
        return sha256_of_file(file)


def _facts(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}


def _is_as_recorded(file: Path, facts: Mapping[str, Any], written_ns: int) -> bool:
    """A file that nobody touched since its record was written is as large as recorded; others are read."""
    try:
        stat = file.stat()
        if stat.st_size != facts["bytes"]:
            return False
        return stat.st_mtime_ns <= written_ns or sha256_of_file(file) == facts["sha256"]
    except (OSError, KeyError, TypeError):
        return False
