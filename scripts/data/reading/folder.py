"""What lies in a folder: volumes, one case each, and what is not used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
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
class LooseSeries:
    """A DICOM series that no folder names: patient, date and number, its UID, and its first file."""

    name: str
    uid: str
    file: Path

    @property
    def key(self) -> str:
        """What tells it from every other series."""
        return f"{self.uid} {os.fspath(self.file.parent)}"

    @property
    def marked_name(self) -> str:
        """A name that no other series has."""
        return f"{self.name}_{sha256(self.key.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Place:
    """What lies directly in a folder.

    Attributes:
        changed_ns: when something was put into it or taken out last, from before it was read.
        volumes: name -> source.
        loose: series without a name of their own.
        unused: see `FolderScan`.
        folders: those below it that are searched.
    """

    changed_ns: int
    volumes: tuple[tuple[str, Path], ...]
    loose: tuple[LooseSeries, ...]
    unused: tuple[tuple[Path, str], ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class FolderScan:
    """What lies in a folder.

    Attributes:
        volumes: identifier -> source, sorted: a file, a folder with a DICOM series, or one slice of a series.
        unused: what is no volume, with the reason in a few words; many files of a kind are one entry.
        places: folder -> what lies in it, of all that were searched.
    """

    volumes: dict[str, Path]
    unused: list[tuple[Path, str]]
    places: dict[Path, Place] = field(default_factory=dict)


def find_volumes(folder: str | Path) -> dict[str, Path]:
    """Volumes of a folder by identifier (see `scan_folder`)."""
    return scan_folder(folder).volumes


def find_label_maps(folder: str | Path) -> dict[str, Path]:
    """Label maps of a folder by identifier: as `find_volumes`, and segmentations of 3D Slicer and DICOM."""
    folder = _existing(folder)
    maps = [(case_id(path), path) for path in _visible(folder) if has_suffix(path, SEGMENTATION_SUFFIXES)]
    maps += [(_without(path.name, DICOM_SUFFIXES), path) for path in _visible(folder) if holds_labels(path)]
    return _named([*maps, *scan_folder(folder).volumes.items()])


def scan_folder(folder: str | Path, before: FolderScan | None = None) -> FolderScan:
    """Volumes of a folder, and what is not used.

    A NIfTI, NRRD or MetaImage file is a case of its own name. So is a sub-folder with DICOM files, whose longest series
    is taken. Each DICOM series that lies loose in the folder, or deeper than in a sub-folder, is a case named by
    patient, date of the study and number of the series. Hidden files are skipped.

    Args:
        folder: to be searched, with those below.
        before: an earlier scan; folders that nothing was put into or taken out of since are not read again.

    Raises:
        BundleError: the folder is missing, or two files have the same identifier.
    """
    places: dict[Path, Place] = {}
    _search(_existing(folder), 0, {} if before is None else before.places, places)
    volumes = [volume for place in places.values() for volume in place.volumes]
    loose = [series for place in places.values() for series in place.loose]
    cases = _named([*volumes, *_series_cases(loose, {name for name, _ in volumes})])
    return FolderScan(cases, [entry for place in places.values() for entry in place.unused], places)


def _search(folder: Path, depth: int, before: Mapping[Path, Place], places: dict[Path, Place]) -> None:
    """Put what lies in the folder, and in those below, into `places`."""
    changed_ns = folder.stat().st_mtime_ns
    place = before.get(folder)
    if place is None or place.changed_ns != changed_ns:
        place = _read_place(folder, depth, changed_ns)
    places[folder] = place
    for below in place.folders:
        _search(below, depth + 1, before, places)


def _read_place(folder: Path, depth: int, changed_ns: int) -> Place:
    try:
        visible = _visible(folder)
    except OSError:
        if depth == 0:
            raise
        return Place(changed_ns, (), (), ((folder, "folder that cannot be read"),), ())
    folders = [path for path in visible if path.is_dir()]
    files = sorted({*visible} - {*folders})
    volume_files = [path for path in files if has_suffix(path, SUFFIXES)]
    scans = [path for path in volume_files if depth == 0 and not has_suffix(path, SEGMENTATION_SUFFIXES)]
    volumes = [(case_id(path), path) for path in scans]
    dicom = read_headers(folder)
    series = all_series(dicom, folder)
    loose: list[Series] = []
    if depth == 1 and (series or dicom.damaged):
        volumes.append((folder.name, folder))
        rest = series[1:]
    else:
        loose = [one for one in series if one.places >= MINIMUM_VOXELS]
        rest = [one for one in series if one.places < MINIMUM_VOXELS]
    data = {file for path in volume_files if has_suffix(path, ITK_SUFFIXES) for file in _data_of(path)}
    known = {*scans, *data, *(image.path for one in series for image in one.images)}
    if series or depth == 1:  # told when the case is read
        known |= {file.path for file in dicom.damaged}
    unused = [(folder, "empty folder")] if depth > 0 and not visible else []
    unused += [(one.images[0].path, _reason(one)) for one in rest]
    unused += _summed_up(folder, [(path, _kind(path, dicom, depth)) for path in files if path not in known])
    followed = [path for path in folders if depth < DEEPEST and (depth == 0 or not path.is_symlink())]
    named = [LooseSeries(one.images[0].name or "series", one.images[0].series, one.images[0].path) for one in loose]
    return Place(changed_ns, tuple(volumes), tuple(named), tuple(unused), tuple(followed))


def _existing(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError("the images folder is missing", file=folder, expected="a folder of volumes")
    return folder


def _without(name: str, suffixes: tuple[str, ...]) -> str:
    return next((name[: -len(suffix)] for suffix in suffixes if name.lower().endswith(suffix)), name)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


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


def _series_cases(loose: list[LooseSeries], taken: set[str]) -> list[tuple[str, Path]]:
    """Names of series that no folder names, with the first file of each."""
    counts = Counter([*(series.name for series in loose), *taken])
    return [(series.marked_name if counts[series.name] > 1 else series.name, series.file) for series in loose]


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


def refuse_images_among_results(images: Path, output: Path, below: Collection[str], stage: str) -> None:
    """Refuse an output folder that is the images folder, or fills it.

    Args:
        images: folder of volumes.
        output: where results go.
        below: names of its folders that hold results.
        stage: for the message.

    Raises:
        BundleError: results would become volumes of the next run.
    """
    source, target = images.resolve(), output.resolve()
    if source == target or any(source.is_relative_to(target / name) for name in below):
        raise BundleError(
            "the results would lie among the images, and the next run would take them for volumes",
            stage=stage,
            file=output,
            expected="an output folder of its own",
            found=f"images in {images}",
        )
