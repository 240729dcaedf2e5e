"""A folder that holds just some volumes, without copies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def link_images(files: Mapping[str, Path], folder: Path) -> Path:
    """A folder that holds just these volumes, as links (copies where links are not to be had); returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        target = folder / f"{name}{''.join(file.suffixes[-2:]) if file.name.endswith('.nii.gz') else file.suffix}"
        if target.exists() and (not target.is_symlink() or target.resolve() == file.resolve()):
            continue
        target.unlink(missing_ok=True)
        try:
            target.symlink_to(file.absolute())
        except OSError:
            shutil.copyfile(file, target)
    return folder
