"""What lies in a folder: volumes, one case each, and what is not used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.data.reading.detached_data import data_files
from scripts.data.reading.dicom_headers import DICOM_SUFFIXES, DicomFolder, holds_labels, read_headers
from scripts.data.reading.dicom_series import Series, all_series
from scripts.data.reading.grid_limits import MINIMUM_VOXELS
from scripts.data.reading.volume import (
    ITK_SUFFIXES,
    SEGMENTATION_SUFFIXES,
    SUFFIXES,
    case_id,
    has_suffix,
)

DEEPEST = 6  # folders below the given one: PATIENT/STUDY/SERIES, and what exporters put around them
FEW = 3  # more files of a kind in a folder are one entry
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")


@dataclass(frozen=True)
class FolderScan:
    """What lies in a folder.

    Attributes:
        volumes: identifier -> source, sorted: a file, a folder with a DICOM series, or one slice of a series.
        unused: what is no volume, with the reason in a few words; many files of a kind are one entry.
    """

    volumes: dict[str, Path]
    unused: list[tuple[Path, str]]


def find_volumes(folder: str | Path) -> dict[str, Path]:
    """Volumes of a folder by identifier (see `scan_folder`)."""
    return scan_folder(folder).volumes


def find_label_maps(folder: str | Path) -> dict[str, Path]:
    """Label maps of a folder by identifier: as `find_volumes`, and segmentations of 3D Slicer and DICOM."""
    folder = _existing(folder)
    maps = [(case_id(path), path) for path in _visible(folder) if has_suffix(path, SEGMENTATION_SUFFIXES)]
    maps += [(_without(path.name, DICOM_SUFFIXES), path) for path in _visible(folder) if holds_labels(path)]
    return _named([*maps, *scan_folder(folder).volumes.items()])


def scan_folder(folder: str | Path) -> FolderScan:
    """Volumes of a folder, and what is not used.

    A NIfTI, NRRD or MetaImage file is a case of its own name. So is a sub-folder with DICOM files, whose longest series
    is taken. Each DICOM series that lies loose in the folder, or deeper than in a sub-folder, is a case named by
    patient, date of the study and number of the series. Hidden files are skipped.

    Raises:
        BundleError: the folder is missing, or two files have the same identifier.
    """
    folder = _existing(folder)
    volumes: list[tuple[str, Path]] = []
    unnamed: list[Series] = []
    unused: list[tuple[Path, str]] = []
    for place, depth in _folders(folder, 0):
        files = [path for path in _visible(place) if not path.is_dir()]
        volume_files = [path for path in files if has_suffix(path, SUFFIXES)]
        scans = [path for path in volume_files if depth == 0 and not has_suffix(path, SEGMENTATION_SUFFIXES)]
        volumes += [(case_id(path), path) for path in scans]
        dicom = read_headers(place)
        series = all_series(dicom, place)
        if depth == 1 and (series or dicom.damaged):
            volumes.append((place.name, place))
            rest = series[1:]
        else:
            unnamed += [one for one in series if one.places >= MINIMUM_VOXELS]
            rest = [one for one in series if one.places < MINIMUM_VOXELS]
        if depth > 0 and not any(_visible(place)):
            unused.append((place, "empty folder"))
        data = {file for path in volume_files if has_suffix(path, ITK_SUFFIXES) for file in _data_of(path)}
        known = {*scans, *data, *(image.path for one in series for image in one.images)}
        if series or depth == 1:  # told when the case is read
            known |= {file.path for file in dicom.damaged}
        unused += [(one.images[0].path, _reason(one)) for one in rest]
        unused += _summed_up(place, [(path, _kind(path, dicom, depth)) for path in files if path not in known])
    return FolderScan(_named([*volumes, *_series_cases(unnamed, {name for name, _ in volumes})]), unused)


def _existing(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError("the images folder is missing", file=folder, expected="a folder of volumes")
    return folder


def _without(name: str, suffixes: tuple[str, ...]) -> str:
    return next((name[: -len(suffix)] for suffix in suffixes if name.lower().endswith(suffix)), name)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _folders(folder: Path, depth: int) -> Iterable[tuple[Path, int]]:
    """The folder and those below, with their depth; below the first sub-folders, links are not followed."""
    yield folder, depth
    if depth < DEEPEST:
        for path in _visible(folder):
            if path.is_dir() and (depth == 0 or not path.is_symlink()):
                yield from _folders(path, depth + 1)


def _data_of(header: Path) -> list[Path]:
    try:
        return data_files(header)
    except OSError:  # told when the volume is read
        return []


def _named(volumes: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in volumes:
        if name in found:
            raise BundleError(
                "two volumes have the same name", case=name, file=path, expected="one volume a case", found=found[name]
            )
        found[name] = path
    return dict(sorted(found.items()))


def _series_cases(series: list[Series], taken: set[str]) -> list[tuple[str, Path]]:
    """Names of series that no folder names, with the first file of each."""
    names = [one.images[0].name or "series" for one in series]
    counts = Counter([*names, *taken])
    cases = []
    for name, one in zip(names, series, strict=True):
        files = [image.path for image in one.images]
        mark = sha256(f"{one.images[0].series} {os.fspath(files[0].parent) if counts[name] > 1 else ''}".encode())
        cases.append((f"{name}_{mark.hexdigest()[:6]}" if counts[name] > 1 else name, files[0]))
    return cases


def _reason(series: Series) -> str:
    count = sum(image.size[2] for image in series.images)
    if series.places < MINIMUM_VOXELS:
        return f"DICOM series of {count} images, no volume"
    return f"DICOM series of {count} images, not the longest of its folder"


def _kind(path: Path, dicom: DicomFolder, depth: int) -> str:
    """Why a file is not used."""
    others = dict(dicom.others)
    if path in others:
        return others[path]
    if path in {file.path for file in dicom.damaged}:
        return "DICOM file that cannot be read"
    if has_suffix(path, SEGMENTATION_SUFFIXES):
        return "segmentation, no scan"
    if has_suffix(path, SUFFIXES):
        return f"volume in a nested folder: move it {depth} up"
    if has_suffix(path, PAIR_SUFFIXES):
        return "NIfTI or Analyze pair: save it as one .nii.gz file"
    return f"no volume ({path.suffix or 'no suffix'})"


def _summed_up(folder: Path, unused: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    counts = Counter(reason for _, reason in unused)
    single = [(path, reason) for path, reason in unused if counts[reason] <= FEW]
    return single + [(folder, f"{count} files: {reason}") for reason, count in counts.items() if count > FEW]
