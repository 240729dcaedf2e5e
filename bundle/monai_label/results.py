"""What a round of training gives every study: its label map, and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from bundle.monai_label.names import TAG
from scripts.common.files import read_json, write_json
from scripts.common.names import some_of
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.volume_io import find_volumes
from scripts.quality.records import CheckRecord

MOST_DOUBTS = 5  # studies that a tooltip can name


@dataclass(frozen=True)
class RoundLabels:
    """Label maps of a run, and what judged them.

    Attributes:
        labels: the folder of the label maps.
        checks: that of the self-check's records.
        final: the network helped; else they are transferred labels, minutes after the start.
    """

    labels: LabelFolder
    checks: Path
    final: bool

    @classmethod
    def transferred(cls, work: WorkFolder) -> RoundLabels:
        """Labels from the support and its atlases."""
        return cls(work.pseudo_labels, work.self_check_pseudo_labels, False)

    @classmethod
    def of_network(cls, work: WorkFolder) -> RoundLabels:
        """Final labels."""
        return cls(work.predictions, work.self_check, True)

    def files(self) -> dict[str, Path]:
        """Case -> label map."""
        return find_volumes(self.labels.path) if self.labels.path.is_dir() else {}

    def info(self, work: WorkFolder, case: str) -> dict[str, Any]:
        """{"label_info": names of the values, "predicted_dice": class -> Dice, "doubted": class -> reasons, "final"}.

        Args:
            work: output folder of `oneshot`.
            case: one with a label map; without a self-check nothing is predicted of it.
        """
        names = [{"name": name, "idx": value} for name, value in load_cohort(work.path).classes.items()]
        record = self.checks / f"{case}.json"
        checks = CheckRecord.read(record).classes if record.exists() else {}
        return {
            "label_info": names,
            "predicted_dice": {name: check.predicted_dice for name, check in checks.items()},
            "doubted": {name: list(check.reasons) for name, check in checks.items() if check.flagged},
            "final": self.final,
        }


@dataclass(frozen=True)
class Handed:
    """What the studies have now: kept in a file, for a server that did not see the round.

    Attributes:
        classes: name -> value.
        predicted_dice: study -> class -> Dice; without those that the user made.
        doubted: study -> class -> reasons.
        final: see `RoundLabels`.
    """

    classes: Mapping[str, int]
    predicted_dice: Mapping[str, Mapping[str, float]]
    doubted: Mapping[str, Mapping[str, list[str]]]
    final: bool

    @classmethod
    def read(cls, file: Path) -> Handed | None:
        """None before the first round."""
        return cls(**read_json(file)) if file.exists() else None

    def write(self, file: Path) -> None:
        """Whole or not at all."""
        write_json(file, asdict(self))

    def mean_dice(self) -> float:
        """Mean predicted Dice of all studies and classes; 0 where nothing is predicted."""
        return _mean(dice for of_study in self.predicted_dice.values() for dice in of_study.values())

    def of(self, studies: Collection[str]) -> Handed:
        """Of these studies alone."""
        return Handed(
            self.classes,
            {study: dice for study, dice in self.predicted_dice.items() if study in studies},
            {study: doubts for study, doubts in self.doubted.items() if study in studies},
            self.final,
        )

    def named(self) -> list[str]:
        """The doubted studies that a tooltip names, the worst first."""
        return self._all_doubted()[:MOST_DOUBTS]

    def in_words(self) -> str:
        """For a tooltip."""
        if not self.predicted_dice:
            return "Labels of this server's studies. Nothing is predicted of them: look at every one."
        kind = "Labels of this server's studies" if self.final else "Transferred labels; better ones follow"
        by_class = {
            name: _mean(dice[name] for dice in self.predicted_dice.values() if name in dice) for name in self.classes
        }
        lines = [
            f"{kind}. Mean predicted Dice {self.mean_dice():.2f}: "
            + ", ".join(f"{name} {dice:.2f}" for name, dice in by_class.items())
            + "."
        ]
        if self.final:
            lines.append("Report: /report/ at this server's address.")
        lines += [f"{study}: {self._doubts(study)}." for study in self.named()]
        more = len(self._all_doubted()) - MOST_DOUBTS
        if more > 0:
            lines.append(f"{more} more studies are doubted: Next Sample shows the worst first.")
        return "\n".join(lines)

    def _all_doubted(self) -> list[str]:
        return sorted((study for study in self.doubted if self.doubted[study]), key=self._worst)

    def _worst(self, study: str) -> float:
        return min(self.predicted_dice.get(study, {}).values(), default=1.0)

    def _doubts(self, study: str) -> str:
        dice = self.predicted_dice.get(study, {})
        return "; ".join(
            f"{name} {dice[name]:.2f} ({', '.join(reasons)})" if name in dice else name
            for name, reasons in self.doubted[study].items()
        )


class Labels(Protocol):
    """What is used of the datastore."""

    def list_images(self) -> list[str]: ...

    def labelled(self, tag: str) -> Collection[str]: ...

    def get_labels_by_image_id(self, image_id: str) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class HandedNow:
    """What the studies have, without those that are gone, or whose label went because their image is another now.

    Attributes:
        file: that of `Handed`.
        datastore: the server's, which may not be there yet.
    """

    file: Path
    datastore: Callable[[], Labels]

    def read(self) -> Handed | None:
        """None before the first round."""
        return self._read()[0]

    def former(self) -> list[str]:
        """The studies that are left out."""
        return self._read()[1]

    def in_words(self) -> str:
        """For a tooltip: numbers of the labels that are there, and which studies have none."""
        handed, former = self._read()
        if handed is None:
            return ""
        datastore = self.datastore()
        labelled = {*datastore.labelled(TAG)} - {*former}
        return "\n".join(filter(None, [handed.in_words(), unlabelled(set(datastore.list_images()) - labelled)]))

    def _read(self) -> tuple[Handed | None, list[str]]:
        handed = Handed.read(self.file)
        if handed is None:
            return None, []
        now = self._without_former(handed)
        return now, sorted({*handed.predicted_dice} - {*now.predicted_dice})

    def _without_former(self, handed: Handed) -> Handed:
        """Those that would be named are looked at closely; to look at a thousand takes seconds."""
        datastore = self.datastore()
        now = handed.of(datastore.labelled(TAG))
        while former := {study for study in now.named() if TAG not in datastore.get_labels_by_image_id(study)}:
            now = now.of({*now.predicted_dice} - former)
        return now


def unlabelled(studies: Collection[str]) -> str:
    """A sentence on studies without a label of the last round; nothing where there are none."""
    if not studies:
        return ""
    names = some_of(sorted(studies), MOST_DOUBTS)
    return f"Without a label of this round (new, replaced, or refused): {names}. Train again."


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fmean(listed) if listed else 0.0
