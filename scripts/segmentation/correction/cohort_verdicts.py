"""Which classes are corrected in a round, decided over all cases together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scripts.segmentation.correction.agreement import is_settled
from scripts.segmentation.correction.settings import GuardSettings

FEWEST_CASES = 2  # one label alone says nothing of others


class Verdict(IntEnum):
    """What a round did with a class, in all cases or in one."""

    CORRECTED = 0
    LEARNING = 1
    UNLIKE = 2
    SHRANK = 3
    LACKING = 4
    PLACED = 5
    NOT_LOCATED = 6


WORDS = {
    Verdict.CORRECTED: "corrected",
    Verdict.LEARNING: "left: the network still learns it",
    Verdict.UNLIKE: "left: the network does not agree with the label",
    Verdict.SHRANK: "first labels again: it shrank",
    Verdict.LACKING: "left: the case lacks it and the network shows no place for it",
    Verdict.PLACED: "placed where the network shows it",
    Verdict.NOT_LOCATED: "left: not located",
}


@dataclass(frozen=True)
class ClassMeasures:
    """Of all cases, each (cases, K).

    Attributes:
        first: voxels of the first label.
        label: voxels of the label now.
        dice: of the network with the label now; 0 where that lacks the class.
    """

    first: np.ndarray
    label: np.ndarray
    dice: np.ndarray


@dataclass(frozen=True)
class ClassPlan:
    """What a round may do with a class.

    Attributes:
        verdict: CORRECTED, or why not.
        usual_voxels: median over the cases whose first label has it; 0 if none has.
    """

    verdict: Verdict
    usual_voxels: float


def measure(first: np.ndarray, label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(3, K): voxels in the first label and now, and the network's Dice with the label now.

    Args:
        first: (X, Y, Z) class indices before any correction.
        label: the same now.
        probability: (K + 1, X, Y, Z), background first.
    """
    values = np.arange(1, len(probability))
    likely = probability.argmax(axis=0)
    counts = np.stack([[(volume == value).sum() for value in values] for volume in (first, label, likely)])
    shared = np.array([((label == value) & (likely == value)).sum() for value in values])
    dice = 2 * shared / np.maximum(counts[1] + counts[2], 1)
    return np.stack([counts[0], counts[1], dice]).astype(float)


def plan_round(
    measures: ClassMeasures,
    curves: Sequence[Sequence[float]],
    shrunk: Collection[int],
    epoch: int,
    settings: GuardSettings,
) -> list[ClassPlan]:
    """What this round may do with each of K classes.

    Args:
        measures: of all cases.
        curves: K curves of agreement in training, epoch by epoch.
        shrunk: channels 0..K-1 of the classes that got their first labels back before: they keep them.
        epoch: after which the round comes.
        settings: the limits.
    """
    late = settings.latest_start_epoch is not None and epoch >= settings.latest_start_epoch
    started = [late or is_settled(curve, settings.settled_slope) for curve in curves]
    return [_class_plan(measures, k, start, k in shrunk, settings) for k, start in enumerate(started)]


def _class_plan(measures: ClassMeasures, k: int, started: bool, shrunk: bool, settings: GuardSettings) -> ClassPlan:
    has = measures.first[:, k] > 0
    if has.sum() < FEWEST_CASES:
        return ClassPlan(Verdict.UNLIKE, 0.0)
    usual = float(np.median(measures.first[has, k]))
    kept = np.median(measures.label[has, k] / measures.first[has, k])
    if shrunk or kept < 1 - settings.most_shrinkage:
        return ClassPlan(Verdict.SHRANK, usual)
    if np.median(measures.dice[has, k]) < settings.least_network_dice:
        return ClassPlan(Verdict.UNLIKE, usual)
    if not started:
        return ClassPlan(Verdict.LEARNING, usual)
    return ClassPlan(Verdict.CORRECTED, usual)
