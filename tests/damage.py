"""What can happen to a file behind the software's back."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("missing", "cut", "changed")


def damage(file: Path, kind: str) -> None:
    """Let the file be gone, half as long, or as long as before with another byte in its middle."""
    if kind == "missing":
        file.unlink()
        return
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] if kind == "cut" else flipped(content, middle))
    stat = file.stat()  # a test is quicker than the clock of some file systems
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def flipped(content: bytes, place: int) -> bytes:
    """All bits of one byte turned."""
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
