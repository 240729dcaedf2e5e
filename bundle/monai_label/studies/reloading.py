"""A folder of NIfTI studies and their labels, which the server and a training in a process of its own both change.

Anybody may replace a study's file. Labels that a round of training made of the one before are then removed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from bundle.monai_label.drawn_on import hash_of_image, is_drawn_on, is_older
from bundle.monai_label.names import DRAWN_ON, OURS, SUBMITTED
from bundle.monai_label.strokes import check_grid
from scripts.common.files import atomic_path, remove_file
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

    def image_mark(self, study: str) -> str | None:
        """What tells a study's image from another of that name, for labels that are made of it.

        None where such labels are removed as soon as the study is another.
        """
        return hash_of_image(self.get_image_uri(study))

    def is_submitted(self, study: str) -> bool:
        """Whether the user submitted a label, and drew it on the image as it is now."""
        if SUBMITTED not in self.get_labels_by_image_id(study):
            return False
        return is_drawn_on(self.get_label_info(study, SUBMITTED).get(DRAWN_ON), self.get_image_uri(study))

    def drop_labels(self, study: str, tags: Iterable[str]) -> None:
        """Remove labels of a study, files first."""
        with FileLock(self._lock_file):
            labels = self._datastore.objects[study].labels
            for label, tag in [(labels.pop(tag, None), tag) for tag in tags]:
                if label is not None:
                    remove_file(self._label_file(study, tag, label))
            self._update_datastore_file(lock=False)

    def list_images(self) -> list[str]:
        """As MONAI Label's; labels of images that were replaced go first."""
        self._read()
        return list(super().list_images())

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
            label_info = {**label_info, DRAWN_ON: hash_of_image(image)}
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
        self._read(label_id)
        return dict(super().get_label_info(label_id, label_tag))

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """As MONAI Label's, on what is on disk now."""
        self._read(image_id)
        return dict(super().get_labels_by_image_id(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """As MONAI Label's, on what is on disk now."""
        self._read(label_id)
        return str(super().get_label_uri(label_id, label_tag))

    def status(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._read()
        return dict(super().status())

    def json(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._read()
        return dict(super().json())

    def _read(self, *studies: str) -> None:
        """What is on disk now, without labels of ours of these studies' former images; of all if none is named."""
        self._init_from_datastore_file()
        for study in studies or list(self._datastore.objects):
            made = self._made_by_rounds(study)
            image = Path(LocalDatastore.get_image_uri(self, study)) if made else Path()
            changed = {
                tag: label.info.get(DRAWN_ON)
                for tag, label in made.items()
                if image.is_file() and not is_older(image, label.info.get("ts", 0))
            }
            former = [tag for tag, noted in changed.items() if not is_drawn_on(noted, image)]
            if former:
                self.drop_labels(study, former)
                print(f"{study}: its image was replaced, so its label is removed; Train makes a new one", flush=True)

    def _made_by_rounds(self, study: str) -> dict[str, DataModel]:
        entry = self._datastore.objects.get(study)
        return {tag: label for tag, label in entry.labels.items() if OURS in label.info} if entry else {}

    def _label_file(self, study: str, tag: str, label: DataModel) -> Path:
        return Path(self._datastore.label_path(tag)) / self._filename(study, label.ext)

    def _remove_non_existing(self) -> int:
        """As MONAI Label's; labels of ours go with their image: found beside another, they would be anybody's."""
        self._init_from_datastore_file()
        for study in list(self._datastore.objects):
            if not Path(LocalDatastore.get_image_uri(self, study)).exists():
                for tag, label in self._made_by_rounds(study).items():
                    remove_file(self._label_file(study, tag, label))
        return int(super()._remove_non_existing())

    def _update_datastore_file(self, lock: bool = True) -> None:
        """As MONAI Label's, but the file is whole whenever the server is killed."""
        with FileLock(self._lock_file) if lock else nullcontext():
            content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            file = Path(self._datastore_config_path)
            with atomic_path(file) as temporary:
                temporary.write_text(content, encoding="utf-8")
            self._config_ts = file.stat().st_mtime
