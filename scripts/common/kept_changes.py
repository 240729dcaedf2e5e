"""A label map that may be an hour's work is set aside: one that somebody changed before it is made again, one that was
accepted when it is no more."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.files import read_json, read_result, sha256_of_file
from scripts.common.work_folder import LabelFolder

logger = logging.getLogger(__name__)

SET_ASIDE = "set_aside"
BLOCK = 1 << 20


def set_aside_changed(record: Path, label: Path | None = None) -> Path | None:
    """Move the label map that a record speaks of into a folder beside it, if it was changed after it was made.

    A folder `set_aside` holds what `--accepted` takes; a second version of a case goes to `set_aside_2`. A file that
    is cut or damaged is no change that anybody made.

    Args:
        record: `ID.json`, beside `ID.nii.gz`; of other records nothing is moved.
        label: the label map, if it is called otherwise.

    Returns:
        Where the label map is now; None if it was not moved.
    """
    label = label or LabelFolder(record.parent).label(record.stem)
    if not was_changed(record, label) or not _is_sound(label):
        return None
    place = set_aside(label)
    logger.warning("%s was changed after it was made; it is made again, and the changed one is kept: %s", label, place)
    return place


def set_aside(label: Path, but: Path | None = None) -> Path:
    """Move a label map into a folder beside it, see `set_aside_changed`; never into the folder `but`.

    Returns:
        Where it is now.
    """
    place = next(place for place in _places(label) if _is_free(place) and place.parent.resolve() != but)
    place.parent.mkdir(exist_ok=True)
    label.replace(place)
    return place


def _places(label: Path) -> Iterator[Path]:
    """The newest version of a case's label map goes to the first of these that is free."""
    yield label.parent / SET_ASIDE / label.name
    for number in count(2):
        yield label.parent / f"{SET_ASIDE}_{number}" / label.name


def _is_free(place: Path) -> bool:
    return not place.exists() and (place.parent.is_dir() or not place.parent.exists())


def was_changed(record: Path, label: Path) -> bool:
    """Whether a label map is there, and another than the one that its record speaks of."""
    if not label.is_file():
        return False
    try:
        recorded = read_json(record)["files"][label.name]["sha256"]
    except (BundleError, KeyError, TypeError):
        return False
    return bool(recorded != sha256_of_file(label))


def _is_sound(label: Path) -> bool:
    """Whether the whole of a compressed NIfTI file can be read; nibabel alone does not look at its checksum.

    Of a DICOM file counts that it is one.
    """
    if label.suffix == ".dcm":
        with label.open("rb") as file:
            return file.read(132).endswith(b"DICM")
    try:
        read_result(label)
        with gzip.open(label) as file:
            while file.read(BLOCK):
                pass
    except (BundleError, OSError, EOFError):
        return False
    return True
