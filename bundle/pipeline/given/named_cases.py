"""What the user may call by a case's name instead of by a path: the support, and label maps to be accepted."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bundle.results.final_labels import has_final_labels
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, keep_json, read_json, remove_file
from scripts.common.kept_changes import set_aside, was_changed
from scripts.common.names import is_case_name, likely_names
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.volume_io import case_id, scan_folder, source_files

logger = logging.getLogger(__name__)

SEPARATOR = ","
IMAGE = "image_sha256"
MOST_CASES = 5  # that a message names


def named_volume(images: Path, support: Path) -> Path:
    """The support's path: as given if a volume is there, else below the images folder, else that of the case of this
    name.

    Args:
        images: folder of volumes.
        support: a path, or a case's name or file name within that folder.

    Returns:
        `support` itself if nothing fits, for the error that tells so.
    """
    if _may_be_volume(support) or support.is_absolute() or not images.is_dir():
        return support
    if (below := images / support).exists():
        return below
    if support.parent != Path():  # a path that leads nowhere is no name
        return support
    volumes = scan_folder(images).volumes
    return next((volumes[name] for name in (support.name, case_id(support)) if name in volumes), support)


def _may_be_volume(path: Path) -> bool:
    """Whether there is a file or a DICOM series: any other folder, such as a run's, may be called like a case."""
    if path.is_dir():
        with suppress(BundleError):
            return bool(source_files(path))
    return path.is_file()


def parse_accepted(text: str) -> Path | tuple[str, ...]:
    """A folder of label maps, or names of cases: "a,b", or a text file with one on each line.

    Raises:
        BundleError: the text file cannot be read.
    """
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


def label_maps_of(names: Sequence[str], work: WorkFolder, images: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Case -> label map that the user accepted by the case's name, as it can be read now.

    It is the one in `predictions/` or, without it or while those are of before, `pseudo_labels/`. Once accepted it
    stays as it is in `accepted/`, until somebody corrects the one in `predictions/`, or a run does not name the case.

    Args:
        names: of cases.
        work: the output folder.
        images: case -> fingerprint of its image; None where these are not known yet.

    Raises:
        BundleError: a case has no label map, or its image was replaced since its label map was made or accepted.
    """
    has_final = bool(names) and has_final_labels(work)  # which reads the records of all cases
    return {case: _label_map_of(case, work, images or {}, has_final) for case in names}


def keep_accepted(accepted: Path | Sequence[str] | None, work: WorkFolder, images: Mapping[str, str]) -> None:
    """Copy label maps of cases that were accepted by name to `accepted/`: where they lie now they are made again.

    Beside each copy `ID.json` tells of which image it is. Copies of cases that are not named any more are set aside:
    such a case is labelled anew, and named again later that is what its user accepts.

    Args:
        accepted: names of cases, or a folder of label maps: that names none, and stays as it is.
        work: the output folder.
        images: of all cases, see `label_maps_of`.

    Raises:
        BundleError: see `label_maps_of`, or the folder cannot be written.
    """
    folder = accepted.resolve() if isinstance(accepted, Path) else None
    names = () if accepted is None or isinstance(accepted, Path) else accepted
    found = label_maps_of(names, work, images)
    if folder != work.accepted.path.resolve():
        _withdraw_others(names, work, folder)
    for case, file in found.items():
        place = work.accepted.label(case)
        if file != place:
            with atomic_path(place) as temporary:
                shutil.copyfile(file, temporary)
        keep_json(work.accepted.record(case), {IMAGE: images[case]})


def _withdraw_others(names: Sequence[str], work: WorkFolder, folder: Path | None) -> None:
    for place in sorted(work.accepted.path.glob("*.nii.gz")):
        if (case := case_id(place)) not in names:
            kept = set_aside(place, but=folder)
            remove_file(work.accepted.record(case))
            logger.info("%s is accepted by its name no more; the label map that was is kept: %s", case, kept)


def _label_map_of(case: str, work: WorkFolder, images: Mapping[str, str], has_final: bool) -> Path:
    if not is_case_name(case):
        raise missing_label_maps(Path(case), _labelled_cases(work, has_final))
    folders = _label_folders(work, has_final)
    if was_changed(work.predictions.record(case), work.predictions.label(case)):
        folders = [work.predictions]
    found = next((folder for folder in folders if folder.label(case).is_file()), None)
    if found is None:
        raise missing_label_maps(Path(case), _labelled_cases(work, has_final))
    if case in images:
        _check_image(case, found, images[case], "accepted" if found == work.accepted else "made")
    return found.label(case)


def _label_folders(work: WorkFolder, has_final: bool) -> list[LabelFolder]:
    """Where a label map may lie, the first one that has it counts."""
    return [work.accepted, *((work.predictions,) if has_final else ()), work.pseudo_labels]


def _labelled_cases(work: WorkFolder, has_final: bool) -> list[str]:
    files = [file for folder in _label_folders(work, has_final) for file in folder.path.glob("*.nii.gz")]
    return sorted(set(map(case_id, files)))


def _check_image(case: str, folder: LabelFolder, image: str, done: str) -> None:
    """Refuse a label map that was made of another image, or accepted for one: `done` says which."""
    recorded: Any = {}
    with suppress(BundleError):  # earlier commands kept no record
        recorded = read_json(folder.record(case))
    if isinstance(recorded, dict) and recorded.get(IMAGE, image) != image:
        raise BundleError(
            f"the image was replaced since its label map was {done}",
            case=case,
            stage="settings",
            file=folder.label(case),
            expected="a run without this name, which labels the case anew, and then a look at that label map; or "
            "--accepted DIR with a copy of this one, if it fits the image",
            found="another image",
        )


def missing_label_maps(named: Path, labelled: Sequence[str] = ()) -> BundleError:
    """Where neither a folder nor a case is called like that; `labelled`: cases that have a label map."""
    names = likely_names(named.name, labelled, MOST_CASES)
    return BundleError(
        "the folder of accepted label maps is missing, or a case of this name has no label map yet",
        stage="settings",
        file=named,
        expected="a folder of label maps ID.nii.gz, or names of cases that have a label map in the output folder"
        + (f": {names}" if names else ""),
    )
