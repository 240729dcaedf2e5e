"""A folder that holds just some volumes, without copies where links are to be had."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, keep_json, read_json, remove_tree, sha256_of_file, sha256_of_settings

COPIES = ".copies.json"  # in such a folder: name -> hash of each copy that was made there


def link_images(files: Mapping[str, Path], folder: Path) -> Path:
    """A folder that holds these volumes, as links (copies where links are not to be had); returns it.

    What is linked there already stays. A copy is made again when the volume is another now: both are read to know.

    Args:
        files: name -> a file, or a folder with a DICOM series.
        folder: receives the links.

    Raises:
        BundleError: something else has the name of a copy, or a copy cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copies = _copies(folder)
    for name, file in files.items():
        target = folder / _file_name(name, file)
        if target.exists() and target.resolve() == file.resolve():
            continue
        if target.is_symlink():
            target.unlink()
        content = _content(target) if target.exists() else None
        if content is None and _is_linked(file, target):
            continue
        if content is None or content != _content(file):
            if content not in (None, copies.get(target.name)):
                raise BundleError(
                    "something else has the name of a copy",
                    file=target,
                    expected=f"nothing, or the copy that was made here before, of {file}: move it away or remove it",
                    found="content that was not copied here",
                )
            content = _copy(file, target)
        copies[target.name] = content
    _note(copies, folder)
    return folder


def link_only(files: Mapping[str, Path], folder: Path) -> Path:
    """As `link_images`; links and copies of other volumes are removed, what somebody else put there stays."""
    wanted, copies = {_file_name(name, file) for name, file in files.items()}, _copies(folder)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in wanted and (path.is_symlink() or _is_copy(path, copies)):
            remove_tree(path)
            copies.pop(path.name, None)
    _note(copies, folder)
    return link_images(files, folder)


def _is_linked(file: Path, target: Path) -> bool:
    """Whether a link was to be had."""
    try:
        target.symlink_to(file.absolute())
    except OSError:
        return False
    return True


def _copy(file: Path, target: Path) -> str:
    """Copy whole or not at all; the hash of what was read, which may be replaced meanwhile."""
    with atomic_path(target) as temporary:
        (shutil.copytree if file.is_dir() else shutil.copyfile)(file, temporary)
        content = _content(temporary)
        if target.is_dir() or file.is_dir():  # no folder is renamed onto anything, and nothing onto a folder
            remove_tree(target)
    return content


def _copies(folder: Path) -> dict[str, str]:
    note = folder / COPIES
    expected = "what was noted of the copies beside it; remove the folder, and it is made again"
    return dict(read_json(note, expected)) if note.exists() else {}


def _note(copies: Mapping[str, str], folder: Path) -> None:
    if copies or (folder / COPIES).exists():
        keep_json(folder / COPIES, copies)


def _is_copy(path: Path, copies: Mapping[str, str]) -> bool:
    return path.name in copies and copies[path.name] == _content(path)


def _content(path: Path) -> str:
    """Of a file's bytes, or of all files below a folder."""
    if not path.is_dir():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_of_settings([(file.relative_to(path).as_posix(), sha256_of_file(file)) for file in files])


def _file_name(name: str, file: Path) -> str:
    if file.is_dir():  # a UID ends like a suffix
        return name
    return name + ("".join(file.suffixes[-2:]) if file.name.endswith(".nii.gz") else file.suffix)
