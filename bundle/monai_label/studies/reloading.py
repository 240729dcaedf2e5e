"""A folder of NIfTI studies and their labels, which the server and a training in a process of its own both change."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from bundle.monai_label.names import DRAWN_ON, SUBMITTED
from bundle.monai_label.strokes import check_grid
from scripts.common.files import atomic_path, sha256_of_file
from scripts.data.volume_io import Volume, read_labels


class ReloadingDatastore(LocalDatastore):
    """Training writes labels from a process of its own: what is on disk is read before anything is told or written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self._auto_reload:  # MONAI Label watches for writing in place
            self._handler.on_moved = lambda event: self._init_from_datastore_file()

    def fetch_submissions(self) -> None:
        """Learn what was submitted elsewhere; here nothing can be."""

    def hand_out(self, study: str, segmentation: Path) -> None:
        """Give a label map that was written as DICOM to others; here nobody takes it."""

    def take_submission(self, study: str, label: Volume, file: Path, info: dict[str, Any]) -> dict[str, Any]:
        """Pass on what a user submits, once it is found to fit and before it is saved.

        Args:
            study: it is on this one's grid.
            label: as read from the file.
            file: as it came.
            info: of the label.

        Returns:
            What is noted of the label.
        """
        return info

    def run_input(self, study: str) -> Path:
        """What `python -m bundle` takes for a study: a file, or a folder with a DICOM series."""
        return Path(self.get_image_uri(study))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """As MONAI Label's, on what is on disk now, and whole for whoever reads it meanwhile.

        Raises:
            BundleError: what a user submits is not on the study's grid.
            ImageNotFoundException: there is no such study.
        """
        if label_tag == SUBMITTED:
            label = read_labels(label_filename)
            image = Path(self.get_image_uri(image_id))
            check_grid(label, image, "label", image_id)
            label_info = self.take_submission(image_id, label, Path(label_filename), label_info)
            label_info = {**label_info, DRAWN_ON: sha256_of_file(image)}
        self._init_from_datastore_file()
        study = self._datastore.objects.get(image_id)
        if study is None:
            raise ImageNotFoundException(f"Image {image_id} not found")
        _, extension = self._to_id(Path(label_filename).name)
        file = Path(self._datastore.label_path(label_tag)) / self._filename(image_id, extension)
        with FileLock(self._lock_file):
            with atomic_path(file) as temporary:
                shutil.copy(label_filename, temporary)
            info = {**(label_info or {}), "ts": int(time.time()), "name": file.name}
            study.labels[label_tag] = DataModel(info=info, ext=extension)
            self._update_datastore_file(lock=False)
        return image_id

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

    def _update_datastore_file(self, lock: bool = True) -> None:
        """As MONAI Label's, but the file is whole whenever the server is killed."""
        with FileLock(self._lock_file) if lock else nullcontext():
            content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            file = Path(self._datastore_config_path)
            with atomic_path(file) as temporary:
                temporary.write_text(content, encoding="utf-8")
            self._config_ts = file.stat().st_mtime
