"""The corrected labels on disk, one round after another: a kill at any moment leaves the last whole round intact."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.errors import BundleError
from scripts.common.files import open_nifti, read_json, write_json, write_nifti
from scripts.data.probability_maps import read_probabilities, write_probabilities

logger = logging.getLogger(__name__)

STAGE = "label correction"
PROBABILITIES, IGNORED = "probabilities", "ignored"
_NAME = re.compile(r"round_(\d+)")


class LabelStore:
    """Label maps `directory/round_NNN/ID.nii.gz`, where NNN is the epoch after which they were written.

    The guarded rule keeps its state beside them: `probabilities/ID.nii.gz`, the mean over rounds, and
    `ignored/ID.nii.gz`, for how many rounds a voxel has taught nothing. A round counts only once its `manifest.json`
    exists, which is written last. Nothing is kept in memory, so worker processes and other ranks see the same labels.

    Args:
        directory: made when the first round is written.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def rounds(self) -> list[int]:
        """Whole rounds, oldest first."""
        return [number for number, folder in self._folders() if (folder / "manifest.json").is_file()]

    def read(self, case: str) -> np.ndarray | None:
        """(X, Y, Z) uint8 class indices of the newest whole round; None if no round has the case.

        Raises:
            BundleError: the file is missing or damaged although the round is whole.
        """
        folder = self._newest_with(case)
        return None if folder is None else _read_map(folder / f"{case}.nii.gz", case)

    def notes(self) -> dict[str, Any]:
        """What the newest whole round noted for the next one."""
        rounds = self.rounds()
        return dict(read_json(self._folder(rounds[-1]) / "manifest.json")) if rounds else {}

    def mean_probabilities(self, case: str) -> np.ndarray | None:
        """(K + 1, X, Y, Z) mean probabilities by the newest whole round; None before any."""
        folder = self._newest_with(case)
        file = None if folder is None else folder / PROBABILITIES / f"{case}.nii.gz"
        return read_probabilities(file)[0] if file is not None and file.is_file() else None

    def new_probabilities(self, epoch: int, case: str) -> np.ndarray:
        """(K + 1, X, Y, Z) mean probabilities of the round that is being written."""
        return read_probabilities(self._folder(epoch) / PROBABILITIES / f"{case}.nii.gz")[0]

    def write_probabilities(self, epoch: int, case: str, probabilities: np.ndarray, affine: np.ndarray) -> None:
        """Keep (K + 1, X, Y, Z) mean probabilities, in steps of 1/255."""
        write_probabilities(self._folder(epoch) / PROBABILITIES / f"{case}.nii.gz", probabilities, affine)

    def read_ignored(self, case: str) -> np.ndarray | None:
        """(X, Y, Z) uint8, rounds for which a voxel has been ignored, by the newest whole round; None before any."""
        folder = self._newest_with(case)
        file = None if folder is None else folder / IGNORED / f"{case}.nii.gz"
        return _read_map(file, case) if file is not None and file.is_file() else None

    def write_ignored(self, epoch: int, case: str, ignored: np.ndarray, affine: np.ndarray) -> None:
        """Keep (X, Y, Z) rounds for which a voxel has been ignored, see `read_ignored`."""
        write_nifti(self._folder(epoch) / IGNORED / f"{case}.nii.gz", ignored.astype(np.uint8), affine)

    def write(self, epoch: int, case: str, label: np.ndarray, affine: np.ndarray) -> None:
        """Write one case of a round: (X, Y, Z) class indices on the training grid with its affine."""
        write_nifti(self._folder(epoch) / f"{case}.nii.gz", label.astype(np.uint8), affine)

    def finish(self, epoch: int, cases: list[str], notes: dict[str, Any] | None = None) -> None:
        """Declare a round whole, after all its cases were written."""
        write_json(self._folder(epoch) / "manifest.json", {"round": epoch, "cases": sorted(cases), **(notes or {})})

    def rollback(self, epoch: int) -> None:
        """Forget unfinished rounds and those written after `epoch`: training continues from there."""
        whole = self.rounds()
        for number, _ in self._folders():
            if number > epoch or number not in whole:
                logger.info("removing label round %d, training continues after epoch %d", number, epoch)
                self._remove(number)

    def prune(self, epoch: int) -> None:
        """Remove rounds that a checkpoint of `epoch` or later does not need."""
        needed = max((number for number in self.rounds() if number <= epoch), default=0)
        for number in self.rounds():
            if number < needed:
                self._remove(number)

    def _newest_with(self, case: str) -> Path | None:
        rounds = self.rounds()
        if not rounds:
            return None
        folder = self._folder(rounds[-1])
        return folder if case in read_json(folder / "manifest.json")["cases"] else None

    def _remove(self, number: int) -> None:
        folder = self._folder(number)
        (folder / "manifest.json").unlink(missing_ok=True)  # first, so that a half removed round does not count
        shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, number: int) -> Path:
        return self.directory / f"round_{number:03d}"

    def _folders(self) -> list[tuple[int, Path]]:
        matches = ((_NAME.fullmatch(folder.name), folder) for folder in self.directory.glob("round_*"))
        return sorted((int(match[1]), folder) for match, folder in matches if match)


def _read_map(path: Path, case: str) -> np.ndarray:
    try:
        return np.asarray(open_nifti(path).dataobj, dtype=np.uint8)
    except Exception as error:  # nibabel and gzip raise many types for a damaged file
        raise BundleError(
            "the corrected labels cannot be read",
            case=case,
            stage=STAGE,
            file=path,
            expected="the label map this round wrote (delete the segmentation folder to train anew)",
            found=error,
        ) from error
