"""A folder of studies in any format that the bundle reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.datasets.links import link_images
from scripts.common.errors import BundleError
from scripts.data.volume_io import is_dicom_series, is_nifti, scan_folder, source_files

STAGE = "MONAI Label"


class FolderSource:
    """Volumes of a folder in other formats than NIfTI alone: NRRD, MetaImage, DICOM series wherever they lie.

    Args:
        studies: the folder.
        series: receives a folder of links a DICOM series, for those that lie among others.
    """

    def __init__(self, studies: Path, series: Path) -> None:
        self.series = series
        self.volumes = scan_folder(studies).volumes

    def studies(self) -> Mapping[str, Mapping[str, Any]]:
        """Those that were there when the server started."""
        return {study: {} for study in self.volumes}

    def volume(self, study: str) -> Path:
        """A DICOM series as a folder of its own."""
        volume = self.volumes[study]
        if volume.is_dir() or not is_dicom_series(volume):
            return volume
        return link_images({f"{n:05d}": file for n, file in enumerate(source_files(volume))}, self.series / study)

    def has_grown(self, study: str) -> bool:
        """Never: what comes into the folder is there from the next start on."""
        return False

    def forget(self, study: str) -> None:
        """Nothing is kept of the volumes themselves."""


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
