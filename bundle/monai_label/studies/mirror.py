"""Studies that lie elsewhere or in other formats than NIfTI: converted when asked for, and again when replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import numpy as np

from bundle.monai_label.drawn_on import hash_of_image
from bundle.monai_label.names import OBJECT, OURS
from bundle.monai_label.studies.entries import CONVERTED, image_entry
from bundle.monai_label.studies.reloading import SUFFIXES, ReloadingDatastore
from scripts.common.errors import BundleError
from scripts.common.files import keep_json, read_json, remove_file, write_nifti
from scripts.data.volume_io import read_volume

SUFFIX = ".nii.gz"
STAMPS = "converted"  # folder of what the conversions were made of


class Source(Protocol):
    """Where studies come from."""

    def studies(self) -> Mapping[str, Mapping[str, Any]]:
        """Study -> what is known of it, as viewers show it."""

    def volume(self, study: str) -> Path:
        """A file, or a folder with a DICOM series, on this machine."""

    def has_grown(self, study: str) -> bool:
        """Whether there is more of a study now than `volume` gave."""

    def stamp(self, study: str) -> str:
        """Another one, without reading it, if a study's files may be others; "" where they never are."""

    def forget(self, study: str) -> None:
        """Let `volume` fetch it again."""


class MirroredDatastore(ReloadingDatastore):
    """NIfTI conversions of a source's studies, and labels; beside them what clients uploaded.

    Args:
        folder: keeps the conversions, and the labels.
        source: where the studies come from.
        in_use: whether a training reads them, so that each must stay what it is.
        nifti: a folder of other studies, NIfTI, that are served as they are; all labels lie there then.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        in_use: Callable[[], bool] = lambda: False,
        nifti: Path | None = None,
    ) -> None:
        self.source, self.folder, self.in_use, self.nifti = source, folder, in_use, nifti
        self._converting, self._told = RLock(), set[str]()
        super().__init__(nifti or folder, (SUFFIX,) if nifti is None else SUFFIXES)

    def get_image_uri(self, image_id: str) -> str:
        """The NIfTI file; made if need be.

        Raises:
            BundleError: the study cannot be fetched or read.
        """
        if image_id not in self.source.studies():
            return str(super().get_image_uri(image_id))
        file = self._file(image_id)
        with self._converting:
            self.renew(image_id)
            if not file.exists():
                stamp = self.source.stamp(image_id)  # before it is read: what changes meanwhile is noticed later
                self._convert(image_id, file)
                self._note(image_id, stamp)
        return str(file.resolve())

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        info = super().get_image_info(image_id)
        return {**info, "path": str(self._file(image_id).resolve())} if info.get(CONVERTED) else info

    def run_input(self, study: str) -> Path:
        """A DICOM series as it is, so that its results can be written as DICOM; else the NIfTI file."""
        with self._converting:
            self.renew(study)
            stamp = self.source.stamp(study)
            if study in self.source.studies() and (volume := self.source.volume(study)).is_dir():
                self._note(study, stamp)
                return volume
        return super().run_input(study)

    def image_mark(self, study: str) -> str | None:
        """See `ReloadingDatastore.image_mark`: `renew` removes the labels of ours."""
        return None if study in self.source.studies() else super().image_mark(study)

    def renew(self, study: str) -> None:
        """Notice that a study is another now: it has grown, or its files were replaced."""
        self._fetch_grown(study)
        self._convert_replaced(study)

    def _file(self, study: str) -> Path:
        return self.folder / f"{study}{SUFFIX}"

    def _convert(self, study: str, file: Path) -> None:
        volume = read_volume(self.source.volume(study))
        write_nifti(file, _smallest(volume.array), volume.affine)

    def _stamp_file(self, study: str) -> Path:
        return self.folder / STAMPS / f"{study}.json"

    def _note(self, study: str, stamp: str) -> None:
        if stamp:
            keep_json(self._stamp_file(study), stamp)

    def _convert_replaced(self, study: str) -> None:
        """Convert a study again whose files are others now; labels of ours of the image before go.

        Files that only look like others give the same image, and all stays. Killed on the way, it is done again.

        Raises:
            BundleError: they cannot be read.
        """
        with self._converting:
            stamp, file, noted = self.source.stamp(study), self._file(study), self._stamp_file(study)
            before = read_json(noted) if noted.exists() else None
            if stamp in ("", before) or (before is None and not file.exists()) or self.in_use():
                return
            self.source.forget(study)
            if study not in self.source.studies():  # its files were removed, not replaced
                return
            stamp = self.source.stamp(study)  # of the files that hold it now
            if file.exists():
                fresh, is_same = noted.with_name(file.name), False
                try:
                    self._convert(study, fresh)
                    is_same = hash_of_image(fresh) == hash_of_image(file)
                finally:
                    if not is_same:
                        self._forget_former(study)
                fresh.replace(file)
            else:
                self._forget_former(study)
            self._note(study, stamp)

    def _forget_former(self, study: str) -> None:
        self._init_from_datastore_file()
        self.drop_labels(study, self._made_by_rounds(study))
        print(f"{study}: its file was replaced; what was drawn on the image before does not count", flush=True)

    def _read(self, *studies: str) -> None:
        """As `ReloadingDatastore`'s, also where it is the source that was replaced."""
        for study in studies:
            with suppress(BundleError):  # its labels are gone; whoever asks for the image learns the reason
                self._convert_replaced(study)
        super()._read(*studies)

    def _fetch_grown(self, study: str) -> None:
        """Forget all of a study that has grown, unless a label of it lies nowhere else.

        What was fetched goes last: by it one sees that the study has grown.
        """
        with self._converting:
            if not self.source.has_grown(study) or self.in_use():
                return
            tags = list(self.get_labels_by_image_id(study))
            alone = [tag for tag in tags if not {OURS, OBJECT} & set(self.get_label_info(study, tag))]
            if alone:
                if study not in self._told:
                    words = f"{study}: there is more of it now; it is fetched again once its labels are removed"
                    print(f"{words} ({', '.join(alone)})", flush=True)
                self._told.add(study)
                return
            for tag in tags:
                self.remove_label(study, tag)
            remove_file(self._file(study))
            self.source.forget(study)
        print(f"{study}: there is more of it now, so it is fetched again, without labels", flush=True)

    def _reconcile_datastore(self) -> None:
        """A study of the source is there before its file is."""
        known = self.source.studies()  # may take long
        if self.nifti is None:
            self._mark_conversions(known)
        self._look({study: image_entry(study, SUFFIX, {**about, CONVERTED: True}) for study, about in known.items()})

    def _mark_conversions(self, known: Collection[str]) -> None:
        """Where an earlier version did not: in the conversions' own folder no study of the source is anything else."""
        self._init_from_datastore_file()
        unmarked = [
            study
            for study, entry in self._datastore.objects.items()
            if study in known and CONVERTED not in entry.image.info
        ]
        if unmarked:
            with self._changing() as objects:
                for study in objects.keys() & {*unmarked}:
                    objects[study].image.info[CONVERTED] = True

    def _finds_images(self) -> bool:
        """Not among the conversions."""
        return self.nifti is not None


def _smallest(array: np.ndarray) -> np.ndarray:
    """The same values in 16 bits where they fit: viewers load every study."""
    small = array.astype(np.int16) if np.abs(array).max() <= np.iinfo(np.int16).max else array
    return small if np.array_equal(small, array) else array
