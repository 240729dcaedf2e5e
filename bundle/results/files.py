"""The table's two files: JSON for programs, CSV for spreadsheets. Both are the same to the bit on a repeated run."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.results.table import ResultTable
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path

COLUMNS = (
    *("case", "role", "admission", "class", "label", "volume_ml", "predicted_dice", "dice_low", "dice_high"),
    *("flagged", "reasons", "remarks", "source", "label_map", "version", "weights_sha256"),
)
BYTE_ORDER_MARK = "\ufeff"  # by which Excel knows UTF-8
# How our files begin: what does not is somebody else's.
JSON_START, CSV_START = '{\n  "schema_version":', f'{BYTE_ORDER_MARK}"case","role","'
# A cell that begins so is a formula to a spreadsheet; where another separator is usual, so is one after it.
FORMULA = re.compile(r'(^|[,;\t])([\s"]*)(?=[=+\-@＝＋－＠])')
LIST_SEPARATOR = "; "


@dataclass(frozen=True)
class TableFiles:
    """Where a table goes."""

    json: Path
    csv: Path

    @classmethod
    def beside_label_maps(cls, folder: Path, cases: Iterable[str]) -> TableFiles:
        """`results.json` and `results.csv` of a folder in which every case has an `ID.json`: no case's file is met."""
        name = free_name("results", cases)
        return cls(folder / f"{name}.json", folder / f"{name}.csv")

    def refuse_foreign(self, stage: str) -> None:
        """Refuse to replace what is not ours; to be asked before any work.

        Raises:
            BundleError: a file of this name begins as none of ours does.
        """
        for file, start in ((self.json, JSON_START), (self.csv, CSV_START)):
            refuse_other_start(file, start, "the table of results", stage)

    def write(self, table: ResultTable) -> None:
        """Write both; a file that says the same already is left alone."""
        _keep(self.json, json.dumps(table.to_json(), indent=2, allow_nan=False) + "\n")
        _keep(self.csv, as_csv(table))


def free_name(name: str, cases: Iterable[str]) -> str:
    """The name, or it with `_` behind it where a case is called so."""
    taken = set(cases)
    while name in taken:
        name += "_"
    return name


def refuse_other_start(file: Path, start: str, what: str, stage: str) -> None:
    """Refuse to replace a file that begins otherwise than ours do.

    Args:
        file: that is to be written.
        start: how ours begin.
        what: the file's name stands for.
        stage: for the message.

    Raises:
        BundleError: it does.
    """
    if not file.exists():
        return
    expected = start.encode()
    found = file.read_bytes()[: len(expected)] if file.is_file() else b"a folder"
    if not expected.startswith(found):
        raise BundleError(
            f"a file of somebody else's has the name of {what}",
            stage=stage,
            file=file,
            expected="another output folder, or this one without that file",
            found=ascii(found.decode(errors="replace")),
        )


def as_csv(table: ResultTable) -> str:
    """The table as comma-separated values (RFC 4180) with a byte order mark; texts are quoted, numbers are not.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    weights = LIST_SEPARATOR.join(f"{name} {sha256}" for name, sha256 in table.weights.items())
    for row in table.rows:
        cells = {**row.columns(), "version": table.version, "weights_sha256": weights}
        writer.writerow([_cell(cells[column]) for column in COLUMNS])
    return BYTE_ORDER_MARK + text.getvalue()


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = LIST_SEPARATOR.join(value) if isinstance(value, list) else str(value)
    return FORMULA.sub(r"\1\2'", text)


def _keep(file: Path, text: str) -> None:
    content = text.encode("utf-8", errors="backslashreplace")  # a path may be no UTF-8
    if file.is_file() and file.read_bytes() == content:
        return
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)
