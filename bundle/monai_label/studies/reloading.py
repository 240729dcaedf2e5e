"""A folder of NIfTI studies and their labels, which the server and a training in a process of its own both change.

Anybody may replace a study's file. Labels that a round of training made of the one before are then removed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.exception import ImageNotFoundException

from bundle.monai_label.drawn_on import hash_of_image, is_drawn_on, is_older
from bundle.monai_label.names import DRAWN_ON, OURS, SUBMITTED
from bundle.monai_label.strokes import check_grid
from bundle.monai_label.studies.entries import Entries, Files, image_entry, is_converted, labels_of_rounds
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, read_json, remove_file, write_json
from scripts.data.volume_io import Volume, read_labels

logger = logging.getLogger(__name__)

STAGE = "MONAI Label"
SUFFIXES = (".nii.gz", ".nii")
LIST = "datastore_v2.json"  # MONAI Label's file of studies and labels
AWAY = "removed_studies.json"  # in the folder of labels: what is known of those of studies that are not there


class ReloadingDatastore(LocalDatastore):
    """Training writes labels from a process of its own: what is on disk is read before anything is told or written.

    Studies may come and go. Whoever asks for the list gets what is there now; the labels that a user drew on a study
    that is gone stay, and come back with it.

    Args:
        folder: of the studies, and of `labels`.
        suffixes: of files that are studies or labels.
    """

    def __init__(self, folder: Path, suffixes: Iterable[str] = SUFFIXES) -> None:
        self._alone, self._between_processes = RLock(), FileLock(folder / ".lock")
        self._read_version: tuple[int, int] | None = None
        super().__init__(str(folder), extensions=tuple(f"*{suffix}" for suffix in suffixes), auto_reload=False)

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

    def labelled(self, tag: str) -> set[str]:
        """Studies that have a label of this tag."""
        self.list_images()
        return {study for study, entry in self._datastore.objects.items() if tag in entry.labels}

    def drop_labels(self, study: str, tags: Iterable[str]) -> None:
        """Remove labels of a study, files first."""
        with self._changing() as objects:
            labels = objects[study].labels if study in objects else {}
            for label, tag in [(labels.pop(tag, None), tag) for tag in tags]:
                if label is not None:
                    remove_file(self._label_file(study, tag, label))

    def list_images(self) -> list[str]:
        """Those that are there now; labels of images that were replaced go first."""
        self._reconcile_datastore()
        self._read()
        return list(super().list_images())

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """As MONAI Label's, on what is on disk now."""
        with self._alone:
            self._init_from_datastore_file()
            return str(super().add_image(image_id, image_filename, image_info))

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
        _, extension = self._to_id(Path(label_filename).name)
        file = Path(self._datastore.label_path(label_tag)) / self._filename(image_id, extension)
        with self._changing() as objects:
            if image_id not in objects:
                raise ImageNotFoundException(f"Image {image_id} not found")
            with atomic_path(file) as temporary:
                shutil.copy(label_filename, temporary)
            info = {**(label_info or {}), "ts": int(time.time()), "name": file.name}
            objects[image_id].labels[label_tag] = DataModel(info=info, ext=extension)
        return image_id

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """As MONAI Label's, on what is on disk now."""
        with self._changing() as objects:
            if image_id not in objects:
                raise ImageNotFoundException(f"Image {image_id} not found")
            objects[image_id].image.info.update(info)

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
        """As MONAI Label's, of the studies that are there now."""
        self._reconcile_datastore()
        self._read()
        return dict(super().status())

    def json(self) -> dict[str, Any]:
        """As MONAI Label's, of the studies that are there now."""
        self._reconcile_datastore()
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
        return labels_of_rounds(entry) if entry else {}

    def _label_file(self, study: str, tag: str, label: DataModel) -> Path:
        return Path(self._datastore.label_path(tag)) / self._filename(study, label.ext)

    def _reconcile_datastore(self) -> None:
        """Look at what is there."""
        self._look({})

    def _look(self, converted: Mapping[str, DataModel]) -> None:
        """Put on the list what is there, and take from it what is not.

        Args:
            converted: study -> image, of those that another place has; they are there whatever lies here.

        Raises:
            BundleError: the folder is gone.
        """
        place = Path(self._datastore.label_path(None)) / AWAY
        if not place.parent.is_dir():  # a share may be away for a while: nothing of it is forgotten
            raise BundleError("the folder of studies is gone", stage=STAGE, file=place.parent, expected="a folder")
        with self._alone, self._between_processes:
            self._init_from_datastore_file()
            before = Entries(dict(self._datastore.objects), _read_entries(place))
            after = before.after({**self._own_images(), **converted}, self._label_files())
            for study, tag, label in before.without(after):
                if OURS in label.info:  # before the list is written: found beside another image, it would be anybody's
                    remove_file(self._label_file(study, tag, label))
            if after.away != before.away:
                write_json(place, {study: entry.model_dump() for study, entry in after.away.items()})
            if after.present != before.present:
                self._datastore.objects = dict(after.present)
                self._update_datastore_file(lock=False)

    def _own_images(self) -> dict[str, DataModel]:
        """Those whose files lie here: on the list, or found."""
        names = _names(self._datastore.image_path())
        found = self._found(names) if self._finds_images() else {}
        listed = {
            study: entry.image
            for study, entry in self._datastore.objects.items()
            if not is_converted(entry.image) and self._filename(study, entry.image.ext) in names
        }
        return {**{study: image_entry(study, suffix, {}) for study, suffix in found.items()}, **listed}

    def _finds_images(self) -> bool:
        """Whether files that somebody puts here are studies."""
        return True

    def _label_files(self) -> Files:
        folder = Path(self._datastore.label_path(None))
        names = {tag: _names(folder / tag) for tag in _names(folder) if (folder / tag).is_dir()}
        return Files(names, {tag: self._found(of_tag) for tag, of_tag in names.items()})

    def _found(self, names: Iterable[str]) -> dict[str, str]:
        """Study -> suffix, of files with the datastore's suffixes."""
        suffixes = tuple(pattern.removeprefix("*") for pattern in self._extensions)
        visible = sorted(name for name in names if name.endswith(suffixes) and not name.startswith("."))
        return dict(self._to_id(name) for name in visible)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ImageLabelModel]]:
        """The list as it is on disk; written when it was changed, before anybody else reads it."""
        with self._alone, self._between_processes:
            self._init_from_datastore_file()
            yield self._datastore.objects
            self._update_datastore_file(lock=False)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """As MONAI Label's, for whoever holds the lock, too."""
        with self._alone, self._between_processes:
            file = Path(self._datastore_config_path)
            if not file.exists() or self._read_version == _version(file):
                return
            try:
                datastore = LocalDatastoreModel.model_validate_json(file.read_bytes())
            except ValueError:
                if throw_exception:
                    raise
                logger.exception("the list of studies cannot be read: %s", file)
                return
            datastore.base_path = self._datastore_path
            self._datastore, self._read_version = datastore, _version(file)

    def _update_datastore_file(self, lock: bool = True) -> None:
        """As MONAI Label's, but the file is whole whenever the server is killed.

        Args:
            lock: whether the caller does not hold MONAI Label's own lock.
        """
        content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        file = Path(self._datastore_config_path)
        with self._between_processes if lock else nullcontext(), atomic_path(file) as temporary:
            temporary.write_text(content, encoding="utf-8")
        self._read_version = _version(file)


def _names(folder: str | Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


def _version(file: Path) -> tuple[int, int]:
    """What tells a file from another that took its place."""
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_ino


def _read_entries(file: Path) -> dict[str, ImageLabelModel]:
    content: dict[str, Any] = read_json(file) if file.exists() else {}
    return {study: ImageLabelModel.model_validate(entry) for study, entry in content.items()}
