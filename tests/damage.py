"""What can happen to a file behind the software's back."""

from __future__ import annotations

import os
import time
from pathlib import Path

KINDS = ("missing", "empty", "cut", "changed", "disguised")
TICK_S = 0.02  # file systems do not tell times apart that lie closer


def damage(file: Path, kind: str) -> None:
    """Let the file be gone, empty, half as long, or as long as before with another byte in its middle.

    Of a "disguised" file the time of the last change is the old one, too.
    """
    if kind == "missing":
        file.unlink()
        return
    content, before = file.read_bytes(), file.stat()
    middle = len(content) // 2
    shorter = {"empty": b"", "cut": content[:middle]}
    time.sleep(TICK_S)
    file.write_bytes(shorter[kind] if kind in shorter else flipped(content, middle))
    later_ns = 0 if kind == "disguised" else 1_000_000_000  # a test is quicker than the clock of some file systems
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + later_ns))


def flipped(content: bytes, place: int) -> bytes:
    """All bits of one byte turned."""
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def damage_share(folder: Path, number: int) -> None:
    """Damage about a fifth of the files below a folder; number 0 to 4 comes to every file once, in all kinds.

    Two kinds stay, whose loss together with others is one clear error: labels on the way, without which a training that
    lost its newest checkpoint says what to delete, and the list of what a network labelled, without which a label map
    that lost its record could be anybody's.
    """
    spared = {"labels", "made_by"}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not spared & set(path.parts))
    for place, file in enumerate(files):
        if place % len(KINDS) == number:
            damage(file, KINDS[place // len(KINDS) % len(KINDS)])
