"""One round of guarded label correction over a cohort: look at all cases, decide, correct each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch

from scripts.segmentation.correction.cohort_verdicts import (
    WORDS,
    ClassMeasures,
    ClassPlan,
    Verdict,
    measure,
    plan_round,
)
from scripts.segmentation.correction.guarded_rule import Case, correct_case, rolling_mean
from scripts.segmentation.correction.settings import GuardSettings
from scripts.segmentation.label_store import LabelStore
from scripts.segmentation.transforms import CachedCases, current_label, lacking

SHRUNK = "shrunk"  # in a round's manifest: the classes that keep their first labels

Item = Mapping[Hashable, Any]


class GuardedRound:
    """Writes the label maps and the state of a round; the caller declares it whole.

    Args:
        dataset: the training cases.
        store: where rounds are kept.
        predict: item -> (K + 1, X, Y, Z) probabilities.
        names: of the K classes.
        settings: the limits.
        sum_ranks: tensor -> its sum over all ranks, also where there is one.
    """

    def __init__(
        self,
        dataset: CachedCases,
        store: LabelStore,
        predict: Callable[[Item], torch.Tensor],
        names: Sequence[str],
        settings: GuardSettings,
        sum_ranks: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.dataset, self.store, self.predict = dataset, store, predict
        self.names, self.settings, self.sum_ranks = list(names), settings, sum_ranks
        self.plans: list[ClassPlan] = []
        self.verdicts = np.zeros((0, 0), int)

    def correct(
        self, epoch: int, delta: Sequence[float], curves: Sequence[Sequence[float]], count: Callable[..., None]
    ) -> None:
        """Correct this rank's share of the cases.

        Args:
            epoch: after which the round comes.
            delta: K + 1 probabilities that a flip needs.
            curves: of each class, see `plan_round`.
            count: takes a case's index and its labels before and after.
        """
        measures = self._measure(epoch)
        before = self.store.notes().get(SHRUNK, [])
        shrunk = {k for k, name in enumerate(self.names) if name in before}
        self.plans = plan_round(measures, curves, shrunk, epoch, self.settings)
        verdicts = torch.zeros(len(self.dataset), len(self.names))
        for index in self._share():
            item, label = self._found(index)
            affine = item["label"].affine.cpu().numpy()
            case = Case(
                first=_array(item["label"][0]),
                label=label,
                ignored=self._ignored(item["case"], label.shape),
                probability=self.store.new_probabilities(epoch, item["case"]),
                located=item["located"].bool().tolist(),
                spacing_mm=np.linalg.norm(affine[:3, :3], axis=0).tolist(),
            )
            done = correct_case(case, self.plans, delta, measures.dice[index].tolist(), self.settings)
            self.store.write(epoch, item["case"], done.label, affine)
            self.store.write_ignored(epoch, item["case"], done.ignored, affine)
            verdicts[index] = torch.tensor([int(verdict) for verdict in done.verdicts])
            count(index, label, done.label)
        self.verdicts = self.sum_ranks(verdicts).numpy().astype(int)

    def notes(self) -> dict[str, Any]:
        """What the next round must know."""
        named = zip(self.names, self.plans, strict=True)
        return {SHRUNK: [name for name, plan in named if plan.verdict is Verdict.SHRANK]}

    def words(self) -> dict[str, str]:
        """Class -> what this round did with it in general."""
        return {name: WORDS[plan.verdict] for name, plan in zip(self.names, self.plans, strict=True)}

    def words_of(self, index: int, name: str) -> str | None:
        """What it did in one case; None where that is what it did in general."""
        k = self.names.index(name)
        verdict = Verdict(self.verdicts[index, k])
        return None if verdict is self.plans[k].verdict else WORDS[verdict]

    def _share(self) -> range:
        return range(idist.get_rank(), len(self.dataset), idist.get_world_size())

    def _found(self, index: int) -> tuple[Item, np.ndarray]:
        """A case, in which a class that its first label lacks may be found, and its label now."""
        item = self.dataset.preprocessed(index)
        located = item["located"]
        found = torch.maximum(located, lacking(item["label"], located).to(located))
        return {**item, "located": found}, _array(current_label(item, self.store)[0])

    def _measure(self, epoch: int) -> ClassMeasures:
        """Predict, keep the mean probabilities, and compare; every rank gets all cases."""
        rows = torch.zeros(len(self.dataset), 3, len(self.names), dtype=torch.float64)
        for index in self._share():
            item, label = self._found(index)
            before = self.store.mean_probabilities(item["case"])
            mean = rolling_mean(before, self.predict(item).cpu().numpy(), self.settings.probability_memory)
            self.store.write_probabilities(epoch, item["case"], mean, item["label"].affine.cpu().numpy())
            mean = self.store.new_probabilities(epoch, item["case"])  # as it will be read, in steps of 1/255
            row = measure(_array(item["label"][0]), label, mean)
            row[:, ~item["located"].bool().cpu().numpy()] = 0  # the prediction says nothing of what is not trusted here
            rows[index] = torch.from_numpy(row)
        first, label_now, dice = self.sum_ranks(rows).numpy().transpose(1, 0, 2)
        return ClassMeasures(first, label_now, dice)

    def _ignored(self, case: str, shape: tuple[int, ...]) -> np.ndarray:
        stored = self.store.read_ignored(case)
        return np.zeros(shape, np.uint8) if stored is None else stored


def _array(label: torch.Tensor) -> np.ndarray:
    return torch.as_tensor(label).cpu().numpy().astype(np.int64)
