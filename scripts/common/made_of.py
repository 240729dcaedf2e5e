"""What a result was made of, and whether it is whole: the one question that decides if it is made again.

A record is a JSON file written after the files it speaks of. `inputs` is the fingerprint of everything that they depend
on, `files` names each of them, from the record's folder, with size and hash, `record` is the hash of the record's rest.

Files that nobody touched since their record was written are not read again. What counts is the later of two times: the
last change of the content, which anybody can set back, and that of the entry (ctime), which nobody can. A chain of
results is so looked through in moments, and whatever was copied, restored or tampered with is read.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import MADE_AGAIN, read_json, sha256_of_file, sha256_of_settings, write_json
from scripts.common.work_folder import LabelFolder

logger = logging.getLogger(__name__)

BOOKKEEPING = ("seconds", "inputs", "image_sha256", "files", "record")


def fingerprint(inputs: Any, version: int = 1) -> str:
    """Hexadecimal SHA-256 of a JSON-serialisable value, independent of key order.

    Args:
        inputs: the value.
        version: of what makes a result of it, see `CaseStage.version`; 1 changes nothing.
    """
    return sha256_of_settings(inputs if version == 1 else {"version": version, "inputs": inputs})


def write_record(record: str | Path, content: Mapping[str, Any], inputs: str, files: Iterable[str | Path]) -> None:
    """Write a record; its files are there already.

    Args:
        record: the JSON file.
        content: what else it says.
        inputs: see `fingerprint`.
        files: that it speaks of.
    """
    facts = {_name(record, file): _facts(Path(file)) for file in files}
    content = json.loads(json.dumps({**content, "inputs": inputs, "files": facts}, allow_nan=False))
    write_json(record, {**content, "record": fingerprint(content)})


def is_record(file: str | Path) -> bool:
    """Whether a file is a record as `write_record` leaves it, whatever it speaks of."""
    try:
        return {"inputs", "files"} <= set(read_json(file))
    except (BundleError, TypeError):
        return False


def is_whole(record: str | Path, inputs: str) -> bool:
    """Whether a record names these inputs and its files are as it says; what is damaged or missing is logged."""
    record = Path(record)
    if not record.exists():
        return False
    try:
        content = read_json(record)
        if content["inputs"] != inputs:
            return False
        damaged = _damaged(record, content)
    except (BundleError, KeyError, TypeError, ValueError):
        logger.warning("%s is damaged; what it records is made again", record)
        return False
    if damaged:
        logger.warning("%s: missing or damaged: %s; made again", record.parent, ", ".join(damaged))
    return not damaged


def damaged_files(record: str | Path) -> list[str]:
    """Names of a record's files that are missing or not as it says.

    Raises:
        BundleError, KeyError, TypeError, ValueError: the record itself is damaged.
    """
    record = Path(record)
    return _damaged(record, read_json(record))


def content_of(record: str | Path) -> dict[str, Any]:
    """What a record says of its result: without how long that took, what it was made of and which files there are.

    Raises:
        BundleError: the record is missing or damaged.
    """
    content = read_json(record, MADE_AGAIN)
    if not isinstance(content, dict):
        raise BundleError("the record is damaged", file=record, expected=MADE_AGAIN, found=content)
    return {key: value for key, value in content.items() if key not in BOOKKEEPING}


def recorded_hash(record: str | Path, file: str | Path) -> str:
    """Hash of a file as its record says, without reading it; one that no record names or that was touched is read."""
    record, file = Path(record), Path(file)
    try:
        facts = read_json(record)["files"][_name(record, file)]
        stat = file.stat()
        if stat.st_size == facts["bytes"] and _touched_ns(stat) <= _written_ns(record.stat()):
            return str(facts["sha256"])
    except (BundleError, OSError, KeyError, TypeError, ValueError):
        logger.debug("%s is not named by %s, so it is read", file, record)
    return sha256_of_file(file)


def label_hash(folder: LabelFolder, case: str) -> str | None:
    """That of a case's label map in a folder; None where there is none."""
    label = folder.label(case)
    return recorded_hash(folder.record(case), label) if label.exists() else None


def _damaged(record: Path, content: Mapping[str, Any]) -> list[str]:
    """Raises ValueError if the record does not say what was written."""
    if not isinstance(content, Mapping):
        raise ValueError("no record")
    rest = {key: value for key, value in content.items() if key != "record"}
    if content.get("record", fingerprint(rest)) != fingerprint(rest):  # those of 0.3.0 have none
        raise ValueError("changed since it was written")
    files, written_ns = dict(content["files"]), _written_ns(record.stat())
    return [name for name, facts in files.items() if not _is_as_recorded(record.parent / name, facts, written_ns)]


def _name(record: str | Path, file: str | Path) -> str:
    return os.path.relpath(file, Path(record).parent)


def _facts(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}


def _is_as_recorded(file: Path, facts: Mapping[str, Any], written_ns: int) -> bool:
    """A file that nobody touched since its record was written is as large as recorded; others are read."""
    try:
        stat = file.stat()
        if stat.st_size != facts["bytes"]:
            return False
        return _touched_ns(stat) <= written_ns or sha256_of_file(file) == facts["sha256"]
    except (OSError, KeyError, TypeError):
        return False


def _touched_ns(stat: os.stat_result) -> int:
    return max(stat.st_mtime_ns, stat.st_ctime_ns)


def _written_ns(stat: os.stat_result) -> int:
    """Of a record: the earlier time, as whoever copies or renames it sets the later one."""
    return min(stat.st_mtime_ns, stat.st_ctime_ns)


def content_mark(value: Any) -> Any:
    """JSON-serialisable, equal where the content is: of a `Path` what it leads to, of anything else the value itself.

    Of a record (`*.json`) counts what it says of its result alone; what is not there is None.
    """
    if isinstance(value, Mapping):
        return {name: content_mark(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [content_mark(item) for item in value]
    if not isinstance(value, Path):
        return value
    if value.is_dir():
        files = sorted(file for file in value.iterdir() if file.is_file() and not file.name.startswith("."))
        return {file.name: content_mark(file) for file in files}
    if not value.exists():
        return None
    return content_of(value) if value.suffix == ".json" else sha256_of_file(value)
