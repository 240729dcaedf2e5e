"""Files that appear whole or not at all, voxels in their order, and fingerprints of files and settings."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import DTypeLike

from scripts.common.errors import BundleError, in_short

logger = logging.getLogger(__name__)

GEOMETRY_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)

WRITER = re.compile(r"(?P<process>\d+)(-(?P<host>[0-9a-f]{8}))?")  # before 0.4 no host
ABANDONED_S = 7 * 86400.0  # nobody writes one file for so long
TILE = 32  # voxels along two axes that change their places: rows of a tile stay in the cache
LONGEST_REASON = 300  # signs of what torch says of a damaged file
MADE_AGAIN = "the file as it was written; `oneshot`, or `propagate`, makes it again"
NO_TENSORS = "the file is damaged, or holds more than tensors and plain values, which could run code and is not read"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, remove it if the block fails.

    The temporary name keeps the suffix, because writers such as nibabel choose the format by it.

    Raises:
        BundleError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".writing-{_writer()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        expected = "a writable folder with free space"
        if isinstance(error, IsADirectoryError):
            expected = "no folder of that name: move it away"
        raise BundleError("cannot write the file", file=path, expected=expected, found=error) from error
    finally:
        with suppress(BundleError):  # also raised where the folder itself is the problem
            remove_tree(temporary)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, to be filled; see `atomic_path`.

    Args:
        path: what it is called at the end; whatever was there is removed, so the caller has made sure that it may.

    Raises:
        BundleError: the folder cannot be written or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.mkdir()
        yield temporary
        remove_tree(path)


def remove_file(path: str | Path) -> None:
    """Remove a file, if it is there.

    Raises:
        BundleError: it cannot be removed, or is a folder.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(
            "the file cannot be replaced", file=path, expected="a file in a writable folder, or nothing", found=error
        ) from error


def remove_tree(path: str | Path) -> None:
    """Remove a folder with all that is in it, if it is there; of a link only the link.

    Raises:
        BundleError: it cannot be removed.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_dir():
        remove_file(path)
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise BundleError(
            "the folder cannot be removed", file=path, expected="writable folders", found=error
        ) from error


def _writer() -> str:
    """This process, among those of all machines that may share the folder."""
    return f"{os.getpid()}-{_host()}"


@cache
def _host() -> str:
    """This machine, in a few signs that every file name takes."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _sweep(path: Path) -> None:
    """Remove what killed processes left half written of this file; of another machine's only what is long abandoned."""
    for leftover in path.parent.glob(f".writing-*-{glob.escape(path.name)}"):
        writer = WRITER.fullmatch(leftover.name.removeprefix(".writing-").removesuffix(f"-{path.name}"))
        if writer is None:
            continue
        if _is_abandoned(leftover) or (writer["host"] == _host() and not _is_alive(int(writer["process"]))):
            remove_tree(leftover)


def _is_abandoned(leftover: Path) -> bool:
    try:
        return time.time() - leftover.stat().st_mtime > ABANDONED_S
    except OSError:
        return False  # it is gone


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # a signal, even of number 0, would end it there
        try:
            import psutil
        except ImportError:
            return True
        return bool(psutil.pid_exists(process))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as JSON, atomically. Keys keep their order; non-finite numbers are refused."""
    text = json.dumps(content, indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def keep_json(path: str | Path, content: Any) -> None:
    """Write `content` as JSON unless the file says the same already."""
    with suppress(BundleError):
        if read_json(path) == json.loads(json.dumps(content)):
            return
    write_json(path, content)


def read_json(path: str | Path, expected: str | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        expected: for the message.

    Raises:
        BundleError: the file is missing or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError("cannot read the JSON file", file=path, expected=expected, found=error) from error


def write_nifti(path: str | Path, array: np.ndarray, affine: np.ndarray, like: nib.Nifti1Image | None = None) -> None:
    """Write (X, Y, Z) `array` as NIfTI, atomically.

    With `like`, all geometry fields of that image's header are copied, so that the affine read back is bit for bit the
    same even where it is stored as a quaternion; `affine` is then not used.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    if like is None:
        image = nib.Nifti1Image(in_file_order(array), affine, header)
        image.header.set_xyzt_units("mm")
    else:
        for field in GEOMETRY_FIELDS:
            header[field] = like.header[field]
        image = nib.Nifti1Image(in_file_order(array), None, header)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def in_c_order(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """As `numpy.ascontiguousarray`, tile by tile where the first axis of three lies closest together."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if array.ndim != 3 or abs(array.strides[0]) >= abs(array.strides[2]):
        return np.ascontiguousarray(array, dtype=dtype)
    result = np.empty(array.shape, dtype=dtype)
    _copy_tiles(array, result)
    return result


def in_file_order(array: np.ndarray) -> np.ndarray:
    """As `numpy.asfortranarray`: the order in which NIfTI files hold voxels."""
    if array.ndim != 3 or abs(array.strides[0]) <= abs(array.strides[2]):
        return np.asfortranarray(array)
    result = np.empty(array.shape, dtype=array.dtype, order="F")
    _copy_tiles(array, result)
    return result


def _copy_tiles(array: np.ndarray, result: np.ndarray) -> None:
    corners = product(range(0, array.shape[0], TILE), range(0, array.shape[2], TILE))
    for x, z in corners:
        result[x : x + TILE, :, z : z + TILE] = array[x : x + TILE, :, z : z + TILE]


def open_nifti(path: str | Path) -> nib.Nifti1Image:
    """A NIfTI file, voxels not yet read; errors are those of `nibabel.load`, and of another format `BundleError`."""
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise BundleError("this is no NIfTI file", file=path, expected=".nii or .nii.gz", found=type(image).__name__)
    return image


def read_result(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels as stored, and the (4, 4) affine, of a NIfTI file that a stage left.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        image = open_nifti(path)
        return np.asarray(image.dataobj), image.affine
    except Exception as error:  # nibabel and gzip raise many types for a damaged file
        raise BundleError(
            "a result of an earlier stage cannot be read",
            file=path,
            expected=MADE_AGAIN,
            found=" ".join(str(error).split()),
        ) from error


def write_weights(path: str | Path, network: torch.nn.Module) -> None:
    """Write the weights as a flat state dict of CPU tensors (loadable with `weights_only=True`), atomically."""
    # A copy, as a contiguous tensor may still hold strides that tell in which order the network was trained.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    # Through a file object a full disk is an OSError; torch.save(path) makes it a RuntimeError without the reason.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(weights, file)


def load_tensors(path: str | Path) -> Any:
    """What `torch.save` left, on the CPU: tensors and plain values, nothing that could run code.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged or holds something else.
    """
    try:
        _check_sums(Path(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch.load raises many types for a damaged file
        reason = in_short(error, LONGEST_REASON)
        # torch's own words advise to switch this protection off.
        raise ValueError(NO_TENSORS if "weights_only" in str(error) else reason) from None


def _check_sums(path: Path) -> None:
    """Compare the parts of such a file with their checksums, which `torch.load` does not."""
    if not zipfile.is_zipfile(path):
        return  # what it is then, `torch.load` says
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"damaged within: {damaged}")


def sha256_of_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_settings(settings: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-serialisable value, independent of key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
