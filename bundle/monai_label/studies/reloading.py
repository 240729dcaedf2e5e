"""A folder of NIfTI studies and their labels, which the server and a training in a process of its own both change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from bundle.monai_label.names import SUBMITTED
from bundle.monai_label.strokes import check_grid
from scripts.data.volume_io import read_labels


class ReloadingDatastore(LocalDatastore):
    """Training writes labels from a process of its own: what is on disk is read before anything is told or written."""

    def fetch_submissions(self) -> None:
        """Learn what was submitted elsewhere; here nothing can be."""

    def hand_out(self, study: str, segmentation: Path) -> None:
        """Give a label map that was written as DICOM to others; here nobody takes it."""

    def run_input(self, study: str) -> Path:
        """What `python -m bundle` takes for a study: a file, or a folder with a DICOM series."""
        return Path(self.get_image_uri(study))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """As MONAI Label's, on what is on disk now.

        Raises:
            BundleError: what a user submits is not on the study's grid.
        """
        if label_tag == SUBMITTED:
            check_grid(read_labels(label_filename), Path(self.get_image_uri(image_id)), "label", image_id)
        self._init_from_datastore_file()
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        super().update_image_info(image_id, info)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return dict(super().get_image_info(image_id))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return dict(super().get_label_info(label_id, label_tag))

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return dict(super().get_labels_by_image_id(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return str(super().get_label_uri(label_id, label_tag))

    def status(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return dict(super().status())

    def json(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return dict(super().json())
