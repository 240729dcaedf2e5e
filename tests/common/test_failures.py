import errno
import zlib

import pytest
import torch

from scripts.common.errors import BundleError, UnexpectedError
from scripts.common.failures import DISK_REMEDY, FILE_REMEDY, MEMORY_REMEDY, as_bundle_error, blamed, stops_every_case


def raised(error, **where):
    """What `blamed` makes of an error."""
    with pytest.raises(BundleError) as caught, blamed("fusing", **where):
        raise error
    return caught.value


def wrapped(error):
    """As MONAI's transforms raise it."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("applying transform LoadImaged") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Exception in ImageFileReader_Execute: \nFailed to allocate memory for image."),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_short_memory_says_what_to_set(error):
    problem = raised(error, case="a", memory_remedy="--set x=1")
    assert (problem.problem, problem.stage, problem.case) == ("memory is short", "fusing", "a")
    assert problem.expected == "--set x=1" and problem.__cause__ is error
    assert str(problem.found) == (" ".join(str(error).split()) or "MemoryError")
    assert as_bundle_error(error).expected == MEMORY_REMEDY and stops_every_case(problem)


@pytest.mark.parametrize(
    ("number", "problem", "remedy", "stops"),
    [
        (errno.ENOSPC, "the disk cannot be written", DISK_REMEDY, True),
        (errno.EDQUOT, "the disk cannot be written", DISK_REMEDY, True),
        (errno.EROFS, "the disk cannot be written", DISK_REMEDY, True),
        (errno.EACCES, "a file cannot be read or written", FILE_REMEDY, False),
        (errno.ENOENT, "a file is missing", FILE_REMEDY, False),
    ],
)
def test_errors_of_the_system_name_the_file(number, problem, remedy, stops):
    for error in (OSError(number, "why", "/data/a.nii"), wrapped(OSError(number, "why", "/data/a.nii"))):
        found = raised(error, case="a")
        assert str(found).splitlines() == [
            f"[stage fusing, case a] {problem}",
            "  file: /data/a.nii",
            f"  expected: {remedy}",
            "  found: why",
        ]
        assert stops_every_case(found) == stops


@pytest.mark.parametrize("error", [EOFError("Compressed file ended"), zlib.error("invalid block")])
def test_damaged_files(error):
    assert raised(wrapped(error)).problem == "a file is damaged"


def test_our_own_error_is_completed_and_stays_itself():
    ours = BundleError("too few", stage="matching", file="f")
    assert raised(ours, case="a") is ours and ours.__cause__ is None
    assert str(ours) == "[stage matching, case a] too few\n  file: f", "what it names itself stays"
    assert raised(wrapped(BundleError("too few", case="b")), case="a").case == "b"


def test_memory_counts_even_where_a_reader_took_it_for_a_bad_file():
    try:
        raise BundleError("cannot read the volume", case="b", file="b.nii") from MemoryError("8 GB")
    except BundleError as error:
        problem = as_bundle_error(error, "caching")
    assert (problem.problem, problem.stage, problem.case, problem.file) == ("memory is short", "caching", "b", "b.nii")


def test_anything_else_is_a_fault_of_the_program():
    problem = raised(wrapped(KeyError("liver")), case="a")
    assert isinstance(problem, UnexpectedError) and not stops_every_case(problem)
    assert (problem.stage, problem.case, problem.found) == ("fusing", "a", "KeyError: 'liver'")
    assert "report it" in problem.expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_end_of_the_process_is_no_failure(error):
    with pytest.raises(error), blamed("fusing"):
        raise error


def test_what_was_handled_before_is_not_to_blame():
    try:
        try:
            raise FileNotFoundError(errno.ENOENT, "gone", "a.nii")
        except OSError:
            raise KeyError("liver") from None
    except KeyError as error:
        assert isinstance(as_bundle_error(error), UnexpectedError)
