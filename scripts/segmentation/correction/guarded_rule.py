"""One round of guarded label correction in one case: labels, probabilities and state in, the same and verdicts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scripts.segmentation.correction.cohort_verdicts import ClassPlan, Verdict
from scripts.segmentation.correction.settings import GuardSettings


class Corrected(NamedTuple):
    """What a round leaves of a case.

    Attributes:
        label: (X, Y, Z) class indices, K + 1 where undecided or ignored.
        ignored: (X, Y, Z) uint8, rounds for which a voxel has been ignored; 0 elsewhere.
        verdicts: of each of K classes.
    """

    label: np.ndarray
    ignored: np.ndarray
    verdicts: list[Verdict]


class Case(NamedTuple):
    """What a round finds.

    Attributes:
        first: (X, Y, Z) class indices before any correction, K + 1 where undecided.
        label: the same now.
        ignored: (X, Y, Z) uint8, see `Corrected`.
        probability: (K + 1, X, Y, Z), the mean over rounds, background first.
        located: (K,) bool; what is not located is left alone.
        spacing_mm: of a voxel.
    """

    first: np.ndarray
    label: np.ndarray
    ignored: np.ndarray
    probability: np.ndarray
    located: Sequence[bool]
    spacing_mm: Sequence[float]


def rolling_mean(before: np.ndarray | None, now: np.ndarray, memory: float) -> np.ndarray:
    """(K + 1, X, Y, Z) mean probabilities over rounds, the older the lighter; None before the first round."""
    return now if before is None else memory * before + (1 - memory) * now


def correct_case(
    case: Case, plans: Sequence[ClassPlan], delta: Sequence[float], dice: Sequence[float], settings: GuardSettings
) -> Corrected:
    """Correct the label of one case.

    Args:
        case: what there is.
        plans: of K classes, see `plan_round`.
        delta: K + 1 probabilities that a flip needs, by the class that it leads to.
        dice: of the network with the label, of K classes.
        settings: the limits.
    """
    classes = len(plans)
    verdicts = [_verdict(case, k, plans[k], dice[k], settings) for k in range(classes)]
    label = case.label.copy()
    for k in (k for k in range(classes) if verdicts[k] is Verdict.SHRANK):
        ours = (label == k + 1) | (case.first == k + 1)
        label[ours] = case.first[ours]
    found = _Round(case, label, np.where(label == classes + 1, case.ignored, 0), delta, settings)
    trusted = {k + 1: plans[k].usual_voxels for k in range(classes) if verdicts[k] is Verdict.CORRECTED}
    found.flip(trusted)
    for k in (k for k in range(classes) if verdicts[k] is Verdict.LACKING):
        if found.place(k + 1, plans[k].usual_voxels):
            verdicts[k] = Verdict.PLACED
    return Corrected(found.label, found.ignored, verdicts)


def _verdict(case: Case, k: int, plan: ClassPlan, dice: float, settings: GuardSettings) -> Verdict:
    if not case.located[k]:
        return Verdict.NOT_LOCATED
    if plan.verdict is not Verdict.CORRECTED:
        return plan.verdict
    if not (case.label == k + 1).any():
        return Verdict.LACKING
    return Verdict.CORRECTED if dice >= settings.least_network_dice else Verdict.UNLIKE


class _Round:
    """The label of one case while it is corrected.

    Args:
        case: as it was.
        label: (X, Y, Z) to begin with, changed in place.
        ignored: (X, Y, Z) to begin with.
        delta: see `correct_case`.
        settings: the limits.
    """

    def __init__(
        self, case: Case, label: np.ndarray, ignored: np.ndarray, delta: Sequence[float], settings: GuardSettings
    ) -> None:
        self.case, self.label, self.ignored, self.settings = case, label, ignored, settings
        self.undecided = len(case.probability)
        self.likely = case.probability.argmax(axis=0)
        self.confidence = case.probability.max(axis=0)
        least = np.array([max(delta[0], settings.least_background_probability), *delta[1:]])
        self.sure = self.confidence > least[self.likely]

    def flip(self, trusted: dict[int, float]) -> None:
        """Gains and losses of the trusted classes, and what becomes of ignored voxels.

        Args:
            trusted: class index -> its usual voxels.
        """
        waiting = self.label == self.undecided
        gained, lost = self._gains(trusted, waiting), np.zeros(self.label.shape, bool)
        for value, usual in trusted.items():
            own = self.label == value
            candidates = own & (gained | (self.sure & (self.likely == 0)))
            allowed = most_confident(candidates, self.confidence, self._may_lose(value, usual))
            gained &= ~(candidates & ~allowed)
            lost |= allowed & (self.likely == 0)
        old_enough = (self.ignored == 0) | (self.ignored >= self.settings.ignored_rounds)
        background = waiting & self.sure & (self.likely == 0) & old_enough
        self.label[gained] = self.likely[gained]
        self.label[background] = 0
        self.label[lost] = self.undecided
        still = waiting & (self.label == self.undecided) & (self.ignored > 0)
        self.ignored = np.where(lost, 1, np.where(still, np.minimum(self.ignored, 254) + 1, 0)).astype(np.uint8)

    def place(self, value: int, usual: float) -> bool:
        """Put a class that the case lacks where the network shows one piece of about its usual volume."""
        pieces, count = ndimage.label((self.likely == value) & np.isin(self.label, (0, self.undecided)))
        if not count:
            return False
        piece = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        core = piece & self.sure
        least, most = (share * usual for share in self.settings.placed_volume)
        if not least <= piece.sum() <= most or core.sum() < self.settings.least_placed_core * piece.sum():
            return False
        self.label[piece] = self.undecided
        self.label[core] = value
        self.ignored = np.where(piece, ~core, self.ignored).astype(np.uint8)
        return True

    def _gains(self, trusted: dict[int, float], waiting: np.ndarray) -> np.ndarray:
        """Where a trusted class may grow: near its label, into what is no class or a trusted one."""
        open_to_all = waiting | np.isin(self.label, (0, *trusted))
        gained = np.zeros(self.label.shape, bool)
        for value, usual in trusted.items():
            own = self.label == value
            wanted = self.sure & (self.likely == value) & ~own & open_to_all
            if wanted.any():
                far = ndimage.distance_transform_edt(~own, sampling=self.case.spacing_mm) > self.settings.near_label_mm
                gained |= most_confident(wanted & ~far, self.confidence, self._may_gain(value, usual))
        return gained

    def _may_gain(self, value: int, usual: float) -> int:
        size, first = self._sizes(value, usual)
        most = (1 + self.settings.most_total_share) * max(first, usual)
        return int(min(self.settings.most_round_share * max(size, usual), most - size))

    def _may_lose(self, value: int, usual: float) -> int:
        size, first = self._sizes(value, usual)
        least = (1 - self.settings.most_total_share) * min(first, usual)
        return int(min(self.settings.most_round_share * size, size - least))

    def _sizes(self, value: int, usual: float) -> tuple[int, float]:
        """Voxels before this round and at first; what a case lacked is measured by its usual volume."""
        return int((self.label == value).sum()), float((self.case.first == value).sum()) or usual


def most_confident(wanted: np.ndarray, confidence: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the wanted voxels: those of the highest confidence, the first ones where it is equal.

    Args:
        wanted: (X, Y, Z) bool.
        confidence: (X, Y, Z).
        count: none if negative.
    """
    places = np.flatnonzero(wanted)
    if len(places) <= count:
        return wanted
    best = places[np.argsort(-confidence.ravel()[places], kind="stable")[: max(count, 0)]]
    chosen = np.zeros(wanted.size, bool)
    chosen[best] = True
    return chosen.reshape(wanted.shape)
