"""The list of studies and their labels, after a look at what is there: a study that comes back has its labels again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monailabel.datastore.local import DataModel, ImageLabelModel

from bundle.monai_label.names import OURS

CONVERTED = "converted"  # in an image's info: its file is made of another, which says whether the study is there
Studies = Mapping[str, ImageLabelModel]


@dataclass(frozen=True)
class Files:
    """What lies in the folders of labels.

    Attributes:
        names: tag -> names of all files.
        found: tag -> study -> suffix, of files that are labels whether or not they are on the list.
    """

    names: Mapping[str, frozenset[str]]
    found: Mapping[str, Mapping[str, str]]

    def has(self, study: str, tag: str, label: DataModel) -> bool:
        """Whether a label's file is there."""
        return f"{study}{label.ext}" in self.names.get(tag, ())


@dataclass(frozen=True)
class Entries:
    """What is known of studies.

    Attributes:
        present: of those that are there.
        away: of those that were; their labels' files stay.
    """

    present: Studies
    away: Studies

    def after(self, images: Mapping[str, DataModel], files: Files) -> Entries:
        """What is known after a look.

        A label of a round goes with its image, unless that is converted: then its source tells if it is the same again.

        Args:
            images: study -> image, of all that are there now.
            files: of labels.
        """
        gone = {study: entry for study, entry in self.present.items() if not _stays(entry, images.get(study))}
        away = {**self.away, **{study: _put_away(entry) for study, entry in gone.items()}}
        order = [study for study in self.present if study in images]
        order += [study for study in images if study not in self.present]
        present = {}
        for study in order:
            stays = study in self.present and study not in gone
            entry = self.present[study] if stays else _come_back(away.get(study), images[study])
            known = self.present.get(study) or away.get(study) or entry
            present[study] = _with_labels(study, entry, known.labels, files)
        return Entries(
            present, {study: entry for study, entry in away.items() if study not in present and entry.labels}
        )

    def without(self, other: Entries) -> Iterator[tuple[str, str, DataModel]]:
        """Study, tag and label of those that `other` does not know."""
        known = {**other.away, **other.present}
        for study, entry in {**self.away, **self.present}.items():
            for tag, label in entry.labels.items():
                if study not in known or tag not in known[study].labels:
                    yield study, tag, label


def labels_of_rounds(entry: ImageLabelModel) -> dict[str, DataModel]:
    """Those that a round of training left."""
    return {tag: label for tag, label in entry.labels.items() if OURS in label.info}


def image_entry(study: str, suffix: str, info: Mapping[str, object]) -> DataModel:
    """As MONAI Label notes an image."""
    return DataModel(info={"ts": int(time.time()), "name": f"{study}{suffix}", **info}, ext=suffix)


def is_converted(image: DataModel) -> bool:
    """See `CONVERTED`."""
    return bool(image.info.get(CONVERTED))


def _stays(entry: ImageLabelModel, image: DataModel | None) -> bool:
    if image is None or entry.image.ext != image.ext:
        return False
    return is_converted(entry.image) == is_converted(image)


def _put_away(entry: ImageLabelModel) -> ImageLabelModel:
    return entry if is_converted(entry.image) else _of_the_user(entry)


def _come_back(entry: ImageLabelModel | None, image: DataModel) -> ImageLabelModel:
    if entry is None:
        return ImageLabelModel(image=image)
    kept = entry if is_converted(entry.image) and is_converted(image) else _of_the_user(entry)
    return ImageLabelModel(image=image, labels=kept.labels)


def _of_the_user(entry: ImageLabelModel) -> ImageLabelModel:
    ours = labels_of_rounds(entry)
    return ImageLabelModel(
        image=entry.image, labels={tag: label for tag, label in entry.labels.items() if tag not in ours}
    )


def _with_labels(study: str, entry: ImageLabelModel, known: Mapping[str, DataModel], files: Files) -> ImageLabelModel:
    """With labels whose files are there, and those that nobody knew; the same object where nothing changes."""
    labels = {tag: label for tag, label in entry.labels.items() if files.has(study, tag, label)}
    found = {tag: studies[study] for tag, studies in files.found.items() if study in studies and tag not in known}
    if len(labels) == len(entry.labels) and not found:
        return entry
    return ImageLabelModel(
        image=entry.image, labels={**labels, **{tag: image_entry(study, suffix, {}) for tag, suffix in found.items()}}
    )
