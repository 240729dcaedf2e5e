"""What the user may call by a case's name instead of by a path: the support, and label maps to be accepted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.files import atomic_path
from scripts.common.kept_changes import was_changed
from scripts.common.names import is_case_name
from scripts.common.work_folder import WorkFolder
from scripts.data.volume_io import case_id, scan_folder

SEPARATOR = ","


def named_volume(images: Path, support: Path) -> Path:
    """The support's path: as given if it is there, else below the images folder, else that of the case of this name.

    Args:
        images: folder of volumes.
        support: a path, or a case's name or file name within that folder.

    Returns:
        `support` itself if nothing fits, for the error that tells so.
    """
    if support.exists() or support.is_absolute() or not images.is_dir():
        return support
    if (below := images / support).exists():
        return below
    if support.parent != Path():  # a path that leads nowhere is no name
        return support
    volumes = scan_folder(images).volumes
    return next((volumes[name] for name in (support.name, case_id(support)) if name in volumes), support)


def parse_accepted(text: str) -> Path | tuple[str, ...]:
    """A folder of label maps, or names of cases: "a,b", or a text file with one on each line."""
    path = Path(text)
    if path.is_file():
        try:
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            expected = "a folder of label maps, or a text file with the name of a case on each line"
            raise BundleError(
                "cannot read the accepted cases", stage="settings", file=path, expected=expected, found=error
            ) from error
    elif path.is_dir() or path.name != text:
        return path
    else:
        names = text.split(SEPARATOR)
    return tuple(sorted({case_id(name.strip()) for name in names if name.strip()}))


def label_maps_of(names: Sequence[str], work: WorkFolder) -> dict[str, Path]:
    """Case -> label map that the user accepted by the case's name, as it can be read now.

    It is the one in `predictions/` or, without it, `pseudo_labels/`. Once accepted it stays as it is in `accepted/`,
    until somebody corrects the one in `predictions/`.

    Args:
        names: of cases.
        work: the output folder.

    Raises:
        BundleError: a case has no label map.
    """
    return {case: _label_map_of(case, work) for case in names}


def keep_accepted(names: Sequence[str], work: WorkFolder) -> None:
    """Copy label maps of cases that were accepted by name to `accepted/`: where they lie now they are made again.

    Raises:
        BundleError: see `label_maps_of`, or the folder cannot be written.
    """
    for case, file in label_maps_of(names, work).items():
        place = work.accepted.label(case)
        if file != place:
            with atomic_path(place) as temporary:
                shutil.copyfile(file, temporary)


def _label_map_of(case: str, work: WorkFolder) -> Path:
    predicted = work.predictions.label(case) if is_case_name(case) else None
    if predicted is None:
        raise missing_label_maps(Path(case))
    if was_changed(work.predictions.record(case), predicted):
        return predicted
    places = (work.accepted.label(case), predicted, work.pseudo_labels.label(case))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise missing_label_maps(Path(case))
    return found


def missing_label_maps(named: Path) -> BundleError:
    """Where neither a folder nor a case is called like that."""
    return BundleError(
        "the folder of accepted label maps is missing, or a case of this name has no label map yet",
        stage="settings",
        file=named,
        expected="a folder of label maps ID.nii.gz, or names of cases that have a label map in the output folder",
    )
