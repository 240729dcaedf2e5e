"""The folder of studies and their labels."""

from __future__ import annotations

from typing import Any

from monailabel.datastore.local import LocalDatastore


class ReloadingDatastore(LocalDatastore):
    """Training writes labels from a process of its own: what is on disk is read before anything is written."""

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().save_label(image_id, label_filename, label_tag, label_info)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().get_label_info(label_id, label_tag)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().get_labels_by_image_id(image_id)

    def status(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().status()
