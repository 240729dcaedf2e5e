"""A folder that holds just some volumes, without copies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def link_images(files: Mapping[str, Path], folder: Path) -> Path:
    """A folder that holds just these volumes, as links (copies where links are not to be had); returns it.

    Args:
        files: name -> a file, or a folder with a DICOM series.
        folder: receives the links.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        target = folder / f"{name}{_suffix(file)}"
        if target.exists() and (not target.is_symlink() or target.resolve() == file.resolve()):
            continue
        target.unlink(missing_ok=True)
        try:
            target.symlink_to(file.absolute())
        except OSError:
            (shutil.copytree if file.is_dir() else shutil.copyfile)(file, target)
    return folder


def _suffix(file: Path) -> str:
    if file.is_dir():  # a UID ends like a suffix
        return ""
    return "".join(file.suffixes[-2:]) if file.name.endswith(".nii.gz") else file.suffix
