"""One command at a time in a folder, by a lock that the system takes back however the command ends."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from scripts.common.errors import BundleError

logger = logging.getLogger(__name__)

FILE_NAME = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems say that have none


@contextmanager
def only_command_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; it is made if need be, and goes again if nothing came into it.

    Within one process this may be nested. Ends of whatever kind, kills as well, free the folder. Network file systems
    keep out other machines, too, if they have locks; one that has none is named in a warning, and nothing is kept out.

    Raises:
        BundleError: another process works there, or the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / FILE_NAME, timeout=0, thread_local=False, is_singleton=True, fallback_to_soft=False)
    try:
        held = _take(lock, folder)
        try:
            yield
        finally:
            if held:
                _give_back(lock)
    finally:
        with suppress(OSError):  # there is something in it now
            for path in made:
                path.rmdir()


def _take(lock: FileLock, folder: Path) -> bool:
    """Whether the file system has locks; then this one is held."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BundleError(
            "another command works in this folder",
            stage="lock",
            file=folder,
            expected="one command at a time: wait for the other, or stop it",
            found=_holder(Path(lock.lock_file)),
        ) from error
    except OSError as error:
        if error.errno in NO_LOCKS:
            logger.warning("%s: its file system has no locks, so start no second command there", folder)
            return False
        raise BundleError(
            "the output folder cannot be written",
            stage="lock",
            file=folder,
            expected="a writable folder with free space",
            found=error,
        ) from error
    if lock.lock_counter == 1:
        with suppress(OSError):  # a help for others, no more
            about = f"process {os.getpid()} on {socket.gethostname()}: {shlex.join(sys.orig_argv)}\n"
            Path(lock.lock_file).write_text(about, encoding="utf-8", errors="replace")
    return True


def _give_back(lock: FileLock) -> None:
    """The file goes before the lock does: whoever opened it meanwhile sees that it has no name and makes a new one."""
    if lock.lock_counter == 1:
        with suppress(OSError):
            Path(lock.lock_file).unlink()
    lock.release()


def _holder(file: Path) -> str:
    """What the other command wrote about itself."""
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").strip() or "a command that says nothing of itself"
    return "a command that has just ended"
