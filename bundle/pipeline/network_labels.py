"""Label maps that a trained network leaves in a folder: a record each, and which of them are made again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import read_json, remove_file, write_json
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import fingerprint, is_record, is_whole
from scripts.common.work_folder import LabelFolder

logger = logging.getLogger(__name__)

# Of what makes label maps, see `CaseStage.version`. Before the third one a class could lie in the air, and its true
# part then went as the smaller one.
VERSION = 3
# Beside the label maps: which of them a network of ours set out to make. No case's file can have this name.
FOLDER_RECORD = "made_by"
OLD_FOLDER_RECORD = "made_of.json"  # of 0.3.0, which says nothing of cases


@dataclass(frozen=True)
class NetworkLabels:
    """The label maps of one network in one folder.

    Attributes:
        network: what it is, JSON-serialisable: its weights' fingerprint and the deciding part of its card.
        labels: where they go.
        with_probabilities: whether its class probabilities are kept as well.
        settings: what else decides, JSON-serialisable.
    """

    network: Mapping[str, Any]
    labels: LabelFolder
    with_probabilities: bool
    settings: Any

    def inputs(self, images: Mapping[str, str]) -> dict[str, str]:
        """Case -> fingerprint of all that its label map depends on, of case -> fingerprint of its image."""
        return {case: fingerprint([self.network, self.settings, image], VERSION) for case, image in images.items()}

    def clear(self, inputs: Mapping[str, str], converted: Mapping[str, Path] | None = None) -> list[str]:
        """Remove label maps that are damaged, of another network or of other images; the cases that are to be labelled.

        Args:
            inputs: see `inputs`.
            converted: case -> file that its image would be converted to.

        Raises:
            BundleError: files of these names that no network of ours made; they may be anything, so they stay.
        """
        todo = [case for case in inputs if not self._is_whole(case, inputs[case])]
        begun = self._begun(inputs)
        others = {case: [*self._files(case), *_existing(converted, case)] for case in todo if case not in begun}
        foreign = [file for case, found in others.items() for file in found if not self._has_record(case)]
        if foreign:
            raise BundleError(
                "the output folder holds files of the volumes' names that this command did not make",
                stage="inference",
                file=foreign[0],
                expected="another output folder, or this one without these files",
                found=f"{len(foreign)} such files",
            )
        if stale := [case for case in todo if self.labels.label(case).exists()]:
            words = "%d label maps in %s are of another network or image, or damaged, and are made again"
            logger.warning(words, len(stale), self.labels.path)
        for case in todo:
            self._remove(case)
        about = {"network": self.network, "cases": sorted({*begun, *inputs})}
        if inputs and fingerprint(self._folder_record(FOLDER_RECORD)) != fingerprint(about):
            write_json(self.labels.path / FOLDER_RECORD, about)
        return todo

    def forget(self, cases: Iterable[str]) -> None:
        """Remove the label maps that networks of ours made of these volumes, which cannot be used any more."""
        cases = list(cases)
        begun = self._begun(cases)
        for case in cases:
            if (found := self._files(case)) and (case in begun or self._has_record(case)):
                self._remove(case)
                logger.warning("%s: its volume cannot be used any more; removed %s", case, found[0])

    def is_there(self, case: str, inputs: str) -> bool:
        """Whether a case's label map is there, and its record says that it was made of these inputs."""
        record = self.labels.record(case)
        return self.labels.label(case).exists() and is_record(record) and bool(read_json(record)["inputs"] == inputs)

    def _remove(self, case: str) -> None:
        """Whatever we made of a case, but for a label map that somebody changed."""
        set_aside_changed(self.labels.record(case))
        own = self.labels.own
        kept = [own.probabilities(case), own.record(case)] if is_record(own.record(case)) else []
        for file in (*self._files(case), *kept):
            remove_file(file)

    def _files(self, case: str) -> list[Path]:
        """Those of a case that are there."""
        return [file for file in (self.labels.label(case), self.labels.record(case)) if file.exists()]

    def _begun(self, cases: Iterable[str]) -> set[str]:
        """Cases that we set out to label: what a kill left of them has no record yet."""
        if about := self._folder_record(FOLDER_RECORD):
            return set(about["cases"])
        return set(cases) if self._folder_record(OLD_FOLDER_RECORD) else set()

    def _folder_record(self, name: str) -> dict[str, Any] | None:
        """What it says; None where it is missing, damaged or a case's."""
        try:
            content = read_json(self.labels.path / name)
        except BundleError:
            return None
        keys = {"network", "cases"} if name == FOLDER_RECORD else {"network"}
        return content if isinstance(content, dict) and set(content) == keys else None

    def _has_record(self, case: str) -> bool:
        """Whether a record says that we made the case's label map."""
        return is_record(self.labels.record(case))

    def _is_whole(self, case: str, inputs: str) -> bool:
        whole = not self.with_probabilities or is_whole(self.labels.own.record(case), inputs)
        return whole and is_whole(self.labels.record(case), inputs)


def _existing(converted: Mapping[str, Path] | None, case: str) -> list[Path]:
    file = (converted or {}).get(case)
    return [] if file is None or not file.exists() else [file]
