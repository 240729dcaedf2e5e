"""The skeleton of every stage that works case by case: share, what is up to date, progress, record last."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import remove_file
from scripts.common.made_of import fingerprint, is_whole, write_record


class CaseStage(ABC):
    """A case is made again unless its record says that it was made of the same inputs and its files are whole.

    Under `torch.distributed` every process takes its share of the cases.

    Attributes:
        name: for progress and messages.
    """

    name: str

    @abstractmethod
    def cases(self) -> list[str]:
        """All that there are to make, in order."""

    @abstractmethod
    def inputs(self, case: str) -> Any:
        """JSON-serialisable: everything that the case's result depends on, files by their fingerprint.

        Raises:
            BundleError: something that it needs is missing.
        """

    @abstractmethod
    def record(self, case: str) -> Path:
        """Where the case's record goes; its other files lie in the same folder."""

    @abstractmethod
    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Read, compute, write the files; returns the content of the record and the files."""

    def prepare(self, todo: Sequence[str]) -> None:
        """What is needed before the first of the cases `todo`, such as a network; not called if there is none."""
        return

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """Make the cases (default: all) that are not up to date; returns their names.

        Raises:
            BundleError: a name that is none of the cases, or what `inputs`, `prepare` or `make` find wrong.
        """
        rank, world = rank_and_world()
        cases = self.cases()
        chosen = cases if case_ids is None else list(case_ids)
        if unknown := [case for case in chosen if case not in cases]:
            raise BundleError("unknown case", stage=self.name, expected=", ".join(cases), found=", ".join(unknown))
        share = chosen[rank::world]
        inputs = {case: fingerprint(self.inputs(case)) for case in share}
        todo = [case for case in share if not is_whole(self.record(case), inputs[case])]
        if not todo:
            return []
        self.prepare(todo)
        for case in tqdm(todo, desc=self.name, unit="case", disable=rank > 0):
            start = time.perf_counter()
            remove_file(self.record(case))  # what is half made again looks like nothing that is whole
            content, files = self.make(case)
            seconds = round(time.perf_counter() - start, 3)
            write_record(self.record(case), content | {"seconds": seconds}, inputs[case], files)
        return todo
