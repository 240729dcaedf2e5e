"""One stage of a run: how far it is, and how long the rest takes, as far as one knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WAITING, RUNNING, DONE, FINISHED, STOPPED = "waiting", "running", "done", "finished", "stopped"
# What stages of a kind do, or one of them by its name, for whoever does not know these names.
WORK = {
    "cohort": "volumes read and checked",
    "suggest": "volumes compared with each other",
    "prnet_coarse": "coarse PRNet trained",
    "prnet_fine": "fine PRNet trained",
    "point_propagation": "strokes located in every case",
    "embedding": "embedding network trained",
    "support_mask": "whole organs grown from the strokes",
    "first_round": "labels sent from the support alone",
    "label_fusion": "labels sent from several atlases and fused",
    "pseudo_labels": "label maps grown from probabilities",
    "segmentation": "segmentation network trained",
    "inference": "cases labelled by the network",
    "ensemble": "network and atlases joined",
    "choice": "the better of two label maps taken, organ by organ",
    "self_check": "Dice of every result predicted",
    "support_kinds": "kinds of organs told from the strokes",
    "first_round_labels": "label maps grown from what the support alone says",
    "on_support_labels": "the support labelled by other atlases, to measure them",
    "training_labels": "label maps for the network to learn from, rather too small",
    "self_check_pseudo_labels": "Dice of every transferred label predicted",
    "joined_labels": "label maps grown from what network and atlases say",
    "self_check_joined_labels": "Dice of those predicted",
}
# Kinds that train a network. One takes 2 to 24 times as long as another stage, see "Speed" in docs/results.md.
TRAININGS = ("prnet_coarse", "prnet_fine", "embedding", "segmentation")
TRAINING_WEIGHT = 12


@dataclass
class StageProgress:
    """One stage of a run.

    Attributes:
        name: of the stage.
        kind: stages of one kind do the same work on each case.
        state: `WAITING`, `RUNNING`, `DONE` or `STOPPED`.
        seconds: that it took so far.
        unit: what is counted; None where nothing was, as in a stage that was done before.
        done, total: how many units, those of an earlier run among them.
        timed: units that were done since the counting began.
        timed_seconds: how long those took.
        started: while it runs, when it began, by the run's clock.
    """

    name: str
    kind: str
    state: str = WAITING
    seconds: float = 0.0
    unit: str | None = None
    done: int = 0
    total: int = 0
    timed: int = 0
    timed_seconds: float = 0.0
    started: float | None = None

    @property
    def work(self) -> str:
        """What it does, in words; "" where nobody said."""
        return WORK.get(self.name) or WORK.get(self.kind, "")

    @property
    def words(self) -> str:
        """Its name and what it does."""
        return f"{self.name}: {self.work}" if self.work else self.name

    def to_json(self) -> dict[str, Any]:
        """What docs/progress.schema.json says of a stage."""
        return {
            "name": self.name,
            "work": self.work,
            "state": self.state,
            "seconds": round(self.seconds, 1),
            "unit": self.unit,
            "done": self.done,
            "total": self.total,
        }

    @property
    def share(self) -> float:
        """Of its work that is done, 0 to 1."""
        if self.state == DONE:
            return 1.0
        return self.done / self.total if self.total else 0.0

    @property
    def weight(self) -> int:
        """What it counts in a run: about what it takes beside a stage that trains nothing; 1 if it was done before."""
        was_done_before = self.state == DONE and self.unit is None
        return TRAINING_WEIGHT if self.kind in TRAININGS and not was_done_before else 1

    @property
    def seconds_left(self) -> float | None:
        """Of a running stage; None as long as nothing can be said."""
        return self.timed_seconds / self.timed * (self.total - self.done) if self.timed else None


def share_done(stages: Sequence[StageProgress]) -> float:
    """Of a run's work, 0 to 1."""
    return sum(stage.weight * stage.share for stage in stages) / max(1, sum(stage.weight for stage in stages))


def time_left(stages: Sequence[StageProgress]) -> tuple[float, int]:
    """Seconds that the rest of a run takes at least, and of how many stages nothing is known.

    A waiting stage is taken to last as long as the last one of its kind in this run would have for all its units.
    """
    worked = [stage for stage in stages if stage.state == DONE and stage.timed]
    whole_s = {stage.kind: stage.seconds * stage.total / stage.timed for stage in worked}
    guesses = [stage.seconds_left for stage in stages if stage.state == RUNNING]
    guesses += [whole_s.get(stage.kind) for stage in stages if stage.state == WAITING]
    return sum(guess for guess in guesses if guess is not None), guesses.count(None)


def in_words(seconds: float, unknown: int) -> str:
    """What is known of the time left."""
    if seconds < 60:
        left = "less than a minute left"
    else:
        hours, minutes = divmod(round(seconds / 60), 60)
        left = (f"{hours} h " if hours else "") + f"{minutes} min left"
    if not unknown:
        return f"about {left}" if seconds >= 60 else left
    stages = "1 stage" if unknown == 1 else f"{unknown} stages"
    return f"{left} and {stages} of unknown length" if seconds > 0 else f"{stages} of unknown length left"
