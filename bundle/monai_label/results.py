"""What a round of training gives every study: its label map, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts.common.files import read_json, write_json
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
        worst = sorted((study for study in self.doubted if self.doubted[study]), key=self._worst)
        lines += [f"{study}: {self._doubts(study)}." for study in worst[:MOST_DOUBTS]]
        if len(worst) > MOST_DOUBTS:
            lines.append(f"{len(worst) - MOST_DOUBTS} more studies are doubted: Next Sample shows the worst first.")
        return "\n".join(lines)

    def _worst(self, study: str) -> float:
        return min(self.predicted_dice.get(study, {}).values(), default=1.0)

    def _doubts(self, study: str) -> str:
        dice = self.predicted_dice.get(study, {})
        return "; ".join(
            f"{name} {dice[name]:.2f} ({', '.join(reasons)})" if name in dice else name
            for name, reasons in self.doubted[study].items()
        )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fmean(listed) if listed else 0.0
