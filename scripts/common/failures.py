"""Whatever goes wrong in a stage becomes the one error that users see: where it happened, and what they can do."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from nibabel.filebasedimages import ImageFileError

from scripts.common.errors import BundleError, UnexpectedError, in_short

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no space, no more space for this user, read-only
DAMAGED = (ImageFileError, EOFError, zlib.error)
# What torch, its data loaders, cuDNN and ITK say in a RuntimeError where memory is short.
MEMORY_WORDS = (
    *("out of memory", "allocate memory", "not enough memory", "alloc_failed", "bad_alloc", "bad allocation"),
    *("shared memory", "killed by signal"),
)
MEMORY_REMEDY = "more memory, fewer programs at the same time, or --small"
DISK_REMEDY = "a writable folder with free space; the same command then continues"
FILE_REMEDY = "run the same command again, it makes its own files anew; an input must be whole, or leave the case out"


@contextmanager
def blamed(stage: str, case: str | None = None, memory_remedy: str = MEMORY_REMEDY) -> Iterator[None]:
    """Whatever the block raises becomes a BundleError with the stage and the case, unless it names others itself.

    Wrappers of MONAI, torch and ignite are looked through: what they were raised from counts.

    Args:
        stage: that the block belongs to.
        case: that it works on, if it is one.
        memory_remedy: what to do where memory is short.
    """
    try:
        yield
    except Exception as error:
        problem = as_bundle_error(error, stage, case, memory_remedy)
        if problem is error:
            raise
        raise problem from error


def as_bundle_error(
    error: Exception, stage: str | None = None, case: str | None = None, memory_remedy: str = MEMORY_REMEDY
) -> BundleError:
    """The error in words that say what to do; for the arguments see `blamed`."""
    chain = list(causes(error))
    known = next((cause for cause in chain if isinstance(cause, BundleError)), None)
    if known is not None:
        known.within(stage, case)
        stage, case = known.stage, known.case
    for cause in chain:
        if is_out_of_memory(cause):
            file = None if known is None else known.file
            return BundleError(
                "memory is short", stage=stage, case=case, file=file, expected=memory_remedy, found=in_short(cause)
            )
    if known is not None:
        return known
    for cause in chain:
        if isinstance(cause, OSError):
            return _of_file(cause, stage, case)
        if isinstance(cause, DAMAGED):
            return BundleError("a file is damaged", stage=stage, case=case, expected=FILE_REMEDY, found=in_short(cause))
    return UnexpectedError(chain[-1], stage=stage, case=case)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, one after the other."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        yield cause
        seen.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error itself, not what it was raised from, says that memory is short."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says_so = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY_WORDS)
    return says_so or isinstance(error, MemoryError)


def stops_every_case(error: BaseException) -> bool:
    """Whether memory or the disk is to blame, so that the next case would fail, too."""
    chain = list(causes(error))
    return any(is_out_of_memory(cause) or (isinstance(cause, OSError) and cause.errno in DISK) for cause in chain)


def _of_file(error: OSError, stage: str | None, case: str | None) -> BundleError:
    if error.errno in DISK:
        problem, remedy = "the disk cannot be written", DISK_REMEDY
    elif isinstance(error, FileNotFoundError):
        problem, remedy = "a file is missing", FILE_REMEDY
    else:
        problem, remedy = "a file cannot be read or written", FILE_REMEDY
    found = error.strerror or in_short(error)
    return BundleError(problem, stage=stage, case=case, file=error.filename, expected=remedy, found=found)
