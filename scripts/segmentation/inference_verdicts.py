"""What `infer` says about each volume of its folder, kept beside the label maps: a second run reads no volume again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import keep_json, read_json
from scripts.common.names import how_many
from scripts.common.work_folder import LabelFolder
from scripts.data.gate.admission import left_out_lines, rejection, unused_lines, verdict_lines
from scripts.data.volume_cache import fingerprint
from scripts.segmentation.items import AdmittedVolumes

logger = logging.getLogger(__name__)

FILE_NAME = "verdicts"  # JSON; no file of a case can have this name


@dataclass(frozen=True)
class InferenceVerdicts:
    """Verdicts on the volumes of one folder.

    Attributes:
        warnings: case -> sentences about its volume; nothing of one that is simply good.
        left_out: case -> why it is left out.
        unused: file -> reason, of what else lies in the folder.
        images: case -> fingerprint of its file, of all that can be read.
        sources: case -> that file or folder, of the same.
    """

    warnings: dict[str, tuple[str, ...]]
    left_out: dict[str, BundleError]
    unused: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)

    def readable(self, volumes: Mapping[str, Path]) -> dict[str, str]:
        """`images`, from the files; what cannot be read is left out."""
        for case, source in volumes.items():
            try:
                self.images[case] = fingerprint(source)
                self.sources[case] = source.absolute()
            except (BundleError, OSError) as error:
                self.left_out[case] = _unreadable(case, source, error)
        return self.images

    def recall(self, labels: LabelFolder, done: Collection[str]) -> None:
        """Take over what an earlier run said and noted of the volumes whose label maps are done."""
        for case, image in labelled_images(labels).items():
            if case in done:
                self.images.setdefault(case, image)
        for case, source in labelled_sources(labels).items():
            if case in done:
                self.sources.setdefault(case, source)
        try:
            earlier = dict(read_json(labels.path / FILE_NAME)["warnings"])
            self.warnings.update({case: tuple(sentences) for case, sentences in earlier.items() if case in done})
        except (BundleError, KeyError, TypeError, ValueError):
            logger.debug("no verdicts of an earlier run in %s", labels.path)

    def add(self, admitted: AdmittedVolumes) -> None:
        """Take over what reading said."""
        self.warnings.update(admitted.warnings)
        self.left_out.update(admitted.left_out)

    def write(self, labels: LabelFolder, sources: Mapping[str, Path]) -> None:
        """Keep them for the next run."""
        rejected = {case: rejection(sources[case], error) for case, error in self.left_out.items()}
        content = {"warnings": self.warnings, "rejected": rejected, "unused": self.unused, "images": self.images}
        places = {case: str(source) for case, source in self.sources.items()}
        keep_json(labels.path / FILE_NAME, content | {"sources": places})

    def tell(self, labels: LabelFolder, done: Collection[str]) -> None:
        """One line for what is not simply good, and one for how many there are; `done` have a label map."""
        verdicts = {case: (*self.warnings.get(case, ()), *_about_label_map(labels.record(case))) for case in done}
        for message in (*left_out_lines(self.left_out), *verdict_lines(verdicts)):
            logger.warning("%s", message)
        for message in unused_lines(self.unused):
            logger.info("%s", message)
        maps, left_out = how_many(len(done), "label map"), how_many(len(self.left_out), "volume")
        logger.info("%s in %s; %s left out", maps, labels.path, left_out)


def labelled_images(labels: LabelFolder) -> dict[str, str]:
    """Case -> fingerprint of the file that its label map was made of, as far as `infer` noted it."""
    return _noted(labels, "images")


def labelled_sources(labels: LabelFolder) -> dict[str, Path]:
    """Case -> the file or folder itself, as far as `infer` noted it."""
    try:
        return {case: Path(source) for case, source in _noted(labels, "sources").items()}
    except TypeError:
        return {}


def _noted(labels: LabelFolder, key: str) -> dict[str, Any]:
    """Case -> what an earlier run noted under a key; nothing where the file is missing or damaged."""
    try:
        return dict(read_json(labels.path / FILE_NAME)[key])
    except (BundleError, KeyError, TypeError, ValueError):
        return {}


def _about_label_map(record: Path) -> list[str]:
    """What was implausible about it."""
    try:
        return [str(sentence) for sentence in read_json(record).get("warnings", [])]
    except (BundleError, AttributeError):
        return []


def _unreadable(case: str, source: Path, error: Exception) -> BundleError:
    if isinstance(error, BundleError):
        return error
    return BundleError(
        "the volume cannot be read",
        case=case,
        stage="inference",
        file=source,
        expected="a file that exists and may be read",
        found=error,
    )
