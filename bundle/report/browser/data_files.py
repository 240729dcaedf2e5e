"""Files beside the page that it loads on demand, and data within it.

A page from a disk may not fetch files, but it may add script elements. So what belongs to one case is a script that
hands over one value; the page's policy allows no other place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from bundle.report.markup import Markup
from scripts.common.files import atomic_path, remove_file, sha256_of_settings

FOLDER = "cases"
FORMAT = 1  # of the files; another one makes them again
KEY_DIGITS = 16
FIRST_LINE = re.compile(r"// [0-9a-f]{64}\n")
# What could end a script element or begin a comment, also in XHTML; JSON means the same by these escapes.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def key_of(case: str) -> str:
    """What a case's files are called: a name may hold what means something in an address."""
    return sha256(case.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]


def script_json(value: Any) -> str:
    """A value as JSON of plain ASCII in which no markup can be, for a script element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign, escape in ESCAPES.items():
        text = text.replace(sign, escape)
    return text


def keep_data_file(file: Path, kind: str, key: str, inputs: Any, make: Callable[[], Any]) -> None:
    """Write a file that hands a value to the page, unless it was made of the same inputs.

    Args:
        file: where.
        kind: what it holds, such as "volume".
        key: of the case.
        inputs: what JSON can hold and decides the value.
        make: computes the value; None leaves no file.

    Raises:
        BundleError: it cannot be written.
    """
    first_line = f"// {sha256_of_settings([FORMAT, kind, key, inputs])}\n"
    if _first_line(file) == first_line:
        return
    value = make()
    if value is None:
        remove_file(file)
        return
    call = f"oneshotReport.receive({script_json(kind)},{script_json(key)},\n{script_json(value)}\n);\n"
    with atomic_path(file) as temporary:
        temporary.write_text(first_line + call, encoding="ascii")


def forget_others(folder: Path, cases: Iterable[str]) -> None:
    """Remove files of ours that belong to none of the cases: whoever sends the report would send them along."""
    keys = {key_of(case) for case in cases}
    for file in sorted(folder.glob("*_*.js")):
        if file.name.split("_")[0] not in keys and FIRST_LINE.fullmatch(_first_line(file) or ""):
            remove_file(file)


def data_element(kind: str, key: str, file: Path) -> Markup:
    """The same value within the page, for one that needs no other file."""
    content = file.read_text(encoding="ascii").split("\n")[2]
    return Markup(f'<script type="application/json" id="{kind}-{key}">{content}</script>\n')


def state_of(*files: Path | None) -> list[Any]:
    """What tells whether files have changed, without reading them."""
    present = [file for file in files if file is not None and file.exists()]
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in present]


def _first_line(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open(encoding="ascii", errors="replace") as opened:
        return opened.readline()
