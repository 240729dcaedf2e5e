"""Label maps that a trained network leaves in a folder: a record each, and which of them are made again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.made_of import content_mark, fingerprint, is_whole
from scripts.common.work_folder import LabelFolder, PropagationFolder

logger = logging.getLogger(__name__)

FOLDER_RECORD = "made_of.json"  # beside the label maps: a network of ours fills this folder
JOINED = "propagation"  # below the label maps: class probabilities that the network joined


@dataclass(frozen=True)
class NetworkLabels:
    """The label maps of one network in one folder.

    Attributes:
        network: what it is, JSON-serialisable: its weights' fingerprint and the deciding part of its card.
        labels: where they go.
        probabilities: class probabilities of the same cases, which it joins; None for label maps alone.
        settings: what else decides, JSON-serialisable.
    """

    network: Mapping[str, Any]
    labels: LabelFolder
    probabilities: PropagationFolder | None
    settings: Any

    def inputs(self, images: Mapping[str, str]) -> dict[str, str]:
        """Case -> fingerprint of all that its label map depends on, of case -> fingerprint of its image."""
        shared = [self.network, self.settings]
        return {case: fingerprint([*shared, image, self._atlases(case)]) for case, image in images.items()}

    def clear(self, inputs: Mapping[str, str]) -> list[str]:
        """Remove label maps that are damaged, of another network or of other images; the cases that are to be labelled.

        Raises:
            BundleError: files of these names that no network of ours made; they may be anything, so they stay.
        """
        todo = [case for case in inputs if not self._is_whole(case, inputs[case])]
        files = [file for case in todo for file in (self.labels.label(case), self.labels.record(case)) if file.exists()]
        foreign = [] if (self.labels.path / FOLDER_RECORD).exists() else [file for file in files if not _is_ours(file)]
        if foreign:
            raise BundleError(
                "the output folder holds files of the volumes' names that this command did not make",
                stage="inference",
                file=foreign[0],
                expected="another output folder",
                found=f"{len(foreign)} such files and no {FOLDER_RECORD}",
            )
        stale = [case for case in todo if self.labels.label(case).exists()]
        if stale:
            words = "%d label maps in %s are damaged, or of another network or image, and are made again"
            logger.warning(words, len(stale), self.labels.path)
        for file in files:
            file.unlink()
        if todo:
            write_json(self.labels.path / FOLDER_RECORD, {"network": self.network})
        return todo

    def _is_whole(self, case: str, inputs: str) -> bool:
        joined = PropagationFolder(self.labels.path / JOINED)
        whole = self.probabilities is None or is_whole(joined.record(case), inputs)
        return whole and is_whole(self.labels.record(case), inputs)

    def _atlases(self, case: str) -> Any:
        """What is joined: class probabilities, and the record of the points that goes with them."""
        folder = self.probabilities
        return None if folder is None else content_mark([folder.probabilities(case), folder.record(case)])


def _is_ours(file: Path) -> bool:
    """Whether the record of a label map says that we made it."""
    record = file.with_name(file.name.removesuffix(".nii.gz").removesuffix(".json") + ".json")
    try:
        return {"inputs", "files"} <= set(read_json(record))
    except (BundleError, TypeError):
        return False
