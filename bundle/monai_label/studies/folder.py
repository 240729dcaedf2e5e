"""A folder of studies in any format that the bundle reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bundle.datasets.links import link_images
from bundle.monai_label.studies.mirror import MirroredDatastore
from bundle.monai_label.studies.reloading import LIST
from bundle.monai_label.studies.watch import FolderWatch
from scripts.common.errors import BundleError
from scripts.common.files import remove_tree, sha256_of_settings
from scripts.data.reading.volume import SUFFIXES, has_suffix
from scripts.data.volume_io import is_dicom_series, is_nifti, scan_folder, source_files

STAGE = "MONAI Label"
NAMES = "series_names.json"
NOTHING_MORE: Mapping[str, Any] = {}  # is known of a study than its files


class FolderSource:
    """Volumes of a folder in other formats than NIfTI alone: NRRD, MetaImage, DICOM series wherever they lie.

    Args:
        studies: the folder.
        series: receives a folder of links a DICOM series, for those that lie among others.
        nifti: whether NIfTI is one of the formats.
    """

    def __init__(self, studies: Path, series: Path, nifti: bool = True) -> None:
        self.watch = FolderWatch(studies, series.with_name(NAMES), lambda file: nifti or not is_nifti(file))
        self.series = series
        self._listed: tuple[Mapping[str, Path], Mapping[str, Mapping[str, Any]]] = {}, {}

    @property
    def volumes(self) -> Mapping[str, Path]:
        """Study -> source, see `scan_folder`."""
        return self.watch.volumes()

    def studies(self) -> Mapping[str, Mapping[str, Any]]:
        """Those that are there now."""
        volumes = self.volumes
        if volumes is not self._listed[0]:  # it is asked for each study
            self._listed = volumes, dict.fromkeys(volumes, NOTHING_MORE)
        return self._listed[1]

    def volume(self, study: str) -> Path:
        """A DICOM series as a folder of its own.

        Raises:
            BundleError: the study is gone.
        """
        volume = self.volumes.get(study)
        if volume is None:
            raise BundleError(
                "the study is gone", case=study, stage=STAGE, file=self.watch.folder, expected="a volume", found="none"
            )
        if volume.is_dir() or not is_dicom_series(volume):
            return volume
        return link_images({f"{n:05d}": file for n, file in enumerate(source_files(volume))}, self.series / study)

    def has_grown(self, study: str) -> bool:
        """Never: what takes a study's place is another, see `stamp`."""
        return False

    def stamp(self, study: str) -> str:
        """Of names, sizes and times of a study's files, or of all beside them; "" where there are none."""
        volume = self.volumes.get(study)
        if volume is None:
            return ""
        try:
            files = source_files(volume) if has_suffix(volume, SUFFIXES) else _files_of_series(volume)
            entries = [(file.name, file.stat()) for file in files]
        except OSError:  # somebody replaces it just now, or removed it
            return ""
        return sha256_of_settings([(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in entries])

    def forget(self, study: str) -> None:
        """Search the folder again: files of other names may hold the study now."""
        remove_tree(self.series / study)
        self.watch.search()


def folder_datastore(studies: Path, mirror: Path, in_use: Callable[[], bool] = lambda: False) -> MirroredDatastore:
    """A folder as the server serves it: NIfTI in place, other formats converted.

    A folder that holds more than NIfTI when it is first served is mirrored as a whole, labels too. It stays so, as one
    of NIfTI stays in place when other formats come: labels would seem lost.

    Args:
        studies: the folder.
        mirror: keeps what is converted.
        in_use: see `MirroredDatastore`.

    Raises:
        BundleError: it holds files, but no volume.
    """
    is_mirrored = not all_nifti(studies)
    if lists := [file for file in (studies / LIST, mirror / LIST) if file.exists()]:
        is_mirrored = max(lists, key=lambda file: file.stat().st_mtime).parent == mirror
    source = FolderSource(studies, mirror / "series", nifti=is_mirrored)
    return MirroredDatastore(mirror, source, in_use, None if is_mirrored else studies)


def _files_of_series(volume: Path) -> list[Path]:
    """All files of the folder that a DICOM series lies in; which of them are its own, only their headers tell."""
    folder = volume if volume.is_dir() else volume.parent
    return sorted(file for file in folder.iterdir() if file.is_file())


def all_nifti(studies: Path) -> bool:
    """Whether a folder can be served as it is.

    Raises:
        BundleError: it holds files, but no volume.
    """
    scan = scan_folder(studies)
    if not scan.volumes and scan.unused:
        file, reason = scan.unused[0]
        raise BundleError(
            "there is no volume in the folder of studies",
            stage=STAGE,
            file=studies,
            expected="NIfTI, NRRD or MetaImage files, or DICOM series",
            found=f"{file.name}: {reason}",
        )
    return all(is_nifti(volume) for volume in scan.volumes.values())
