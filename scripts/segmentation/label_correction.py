"""Progressive label correction: confident predictions overrule the pseudo labels, in both directions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from scripts.common.files import read_json, write_json
from scripts.segmentation.correction.guarded_round import GuardedRound
from scripts.segmentation.correction.round_record import add_words, round_entry, summary
from scripts.segmentation.correction.settings import GuardSettings
from scripts.segmentation.correction.training_agreement import TrainingAgreement
from scripts.segmentation.label_store import LabelStore
from scripts.segmentation.network_probabilities import logits_of_case
from scripts.segmentation.transforms import CachedCases, current_label

logger = logging.getLogger(__name__)

AGREEMENT = "agreement.json"


def correct_labels(label: torch.Tensor, probability: torch.Tensor, delta: Sequence[float]) -> torch.Tensor:
    """Flip each voxel whose predicted class differs from its label and is surer than that class's threshold.

    Label correction of arXiv 2111.10773, section 2.4; background to foreground and back alike.

    Args:
        label: (X, Y, Z) class indices 0..K, and K + 1 where undecided, which any confident prediction decides.
        probability: (K + 1, X, Y, Z), background first.
        delta: K + 1 thresholds; the predicted class's one applies.

    Returns:
        (X, Y, Z), as `label`.
    """
    confidence, predicted = probability.max(dim=0)
    threshold = torch.as_tensor(delta, dtype=confidence.dtype, device=confidence.device)[predicted]
    return torch.where(confidence > threshold, predicted.to(label.dtype), label)


def count_changes(before: torch.Tensor, after: torch.Tensor, classes: int) -> torch.Tensor:
    """(K + 2, K + 2) int64: voxels changed from the row's class to the column's; the last of both is undecided.

    Args:
        before: (X, Y, Z) class indices.
        after: the same after a correction.
        classes: K + 1.
    """
    changed = after != before
    pairs = before[changed].long() * (classes + 1) + after[changed].long()
    return torch.bincount(pairs, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


@dataclass(frozen=True)
class DeltaSchedule:
    """The confidence a flip needs: `start`, times `factor` each epoch, never below `floor`.

    Each is one number for all classes, or K + 1 numbers with the background first.

    Attributes:
        start: probability that the first correction needs.
        factor: factor by which the probability that a correction needs changes with each epoch.
        floor: probability that every correction needs, however late.
    """

    start: float | Sequence[float] = 0.95
    factor: float | Sequence[float] = 0.99
    floor: float | Sequence[float] = 0.85

    def __call__(self, epochs: int, classes: int) -> list[float]:
        """Thresholds of `classes` (K + 1) classes, `epochs` epochs after the first correction."""
        columns = (_per_class(value, classes) for value in (self.start, self.factor, self.floor))
        return [max(start * factor**epochs, floor) for start, factor, floor in zip(*columns, strict=True)]


class ProgressiveLabelCorrection:
    """Ignite handler: after an epoch, predicts every training volume, corrects its label and stores the round.

    Attach it before the checkpoint handler. Training that resumes after epoch e uses the last round up to e, so it
    equals training that was never stopped. On several ranks each one corrects its share of the volumes.

    Args:
        dataset: the training cases; their deterministic transforms define the grid.
        store: where rounds are kept; the dataset's `StoredLabeld` reads from the same folder.
        network: (1, 1, X, Y, Z) -> (1, K + 1, X, Y, Z) logits.
        inferer: sliding windows over a whole volume.
        classes: names in the order of the channels 1..K.
        flips_file: JSON list, one entry a round: round (the epoch), delta and flips per class, voxels flipped, and per
            case the classes that changed.
        device: where the network is.
        schedule: thresholds by epochs since `start_epoch`.
        start_epoch: first epoch after which labels are corrected.
        interval: epochs between two rounds.
        history_epochs: rounds are kept so that training can go back that many epochs (checkpoints kept times their
            interval).
        guard: limits of the guarded rule, which keeps its curves of agreement beside the rounds; None for the paper's
            rule, `correct_labels` alone.
    """

    def __init__(
        self,
        dataset: CachedCases,
        store: LabelStore,
        network: torch.nn.Module,
        inferer: Callable[..., torch.Tensor],
        classes: Sequence[str],
        flips_file: str | Path,
        device: str | torch.device = "cpu",
        schedule: DeltaSchedule | None = None,
        start_epoch: int = 1,
        interval: int = 1,
        history_epochs: int = 2,
        guard: GuardSettings | None = None,
    ) -> None:
        self.dataset, self.store = dataset, store
        self.network, self.inferer = network, inferer
        self.names = ["background", *classes]
        self.flips_file = Path(flips_file)
        self.device = torch.device(device)
        self.schedule = schedule or DeltaSchedule()
        self.start_epoch, self.interval, self.history_epochs = start_epoch, interval, history_epochs
        self.guarded, self.agreement = None, None
        if guard is not None:
            self.guarded = GuardedRound(dataset, store, self.predict, self.names[1:], guard, self._sum_ranks)
            self.agreement = TrainingAgreement(store.directory / AGREEMENT, self.names[1:], self.device)

    def attach(self, engine: Engine) -> None:
        """Register on the training engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.follow_epoch)
        if self.agreement is not None:
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.agreement.watch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.correct)

    def follow_epoch(self, engine: Engine) -> None:
        """Drop rounds of a later epoch than the ones completed, as after a kill."""
        if idist.get_rank() == 0:
            self.store.rollback(engine.state.epoch - 1)
        if self.agreement is not None:
            self.agreement.begin(engine.state.epoch)
        _wait()

    def correct(self, engine: Engine) -> None:
        """Write a round, if its turn has come."""
        epoch = engine.state.epoch
        if self.agreement is not None:
            self.agreement.finish(epoch)
            _wait()
        since_start = epoch - self.start_epoch
        if since_start < 0 or since_start % self.interval:
            return
        delta = self.schedule(since_start, len(self.names))
        changes = self._correct_share(epoch, delta)
        _wait()
        if idist.get_rank() == 0:
            self._finish(epoch, delta, changes)
        _wait()

    def _correct_share(self, epoch: int, delta: Sequence[float]) -> torch.Tensor:
        """Write this rank's label maps; (cases, K + 2, K + 2) changes of all ranks together."""
        classes = len(self.names)
        changes = torch.zeros(len(self.dataset), classes + 1, classes + 1, dtype=torch.int64)

        def count(index: int, before: Any, after: Any) -> None:
            changes[index] = count_changes(torch.as_tensor(before), torch.as_tensor(after), classes)

        if self.guarded is not None and self.agreement is not None:
            self.guarded.correct(epoch, delta, self.agreement.curves(), count)
        else:
            self._correct_plainly(epoch, delta, count)
        return self._sum_ranks(changes)

    def _correct_plainly(self, epoch: int, delta: Sequence[float], count: Callable[..., None]) -> None:
        """The paper's rule."""
        for index in range(idist.get_rank(), len(self.dataset), idist.get_world_size()):
            item = self.dataset.preprocessed(index)
            label = current_label(item, self.store)[0].long().cpu()
            corrected = correct_labels(label, self.predict(item).cpu(), delta)
            self.store.write(epoch, item["case"], corrected.numpy(), item["label"].affine.cpu().numpy())
            count(index, label, corrected)

    def _sum_ranks(self, values: torch.Tensor) -> torch.Tensor:
        if idist.get_world_size() == 1:
            return values
        return cast(torch.Tensor, idist.all_reduce(values.to(self.device))).cpu()

    def predict(self, item: Mapping[Hashable, Any]) -> torch.Tensor:
        """(K + 1, X, Y, Z) probabilities of one preprocessed case; a class not located there counts as background."""
        return torch.softmax(logits_of_case(item, self.network, self.inferer, self.device), dim=0)

    def _finish(self, epoch: int, delta: Sequence[float], changes: torch.Tensor) -> None:
        cases = [self.dataset.preprocessed(index)["case"] for index in range(len(self.dataset))]
        entry = round_entry(epoch, delta, self.names, cases, changes)
        if self.guarded is not None:
            add_words(entry, self.guarded, cases)
        self.store.finish(epoch, cases, None if self.guarded is None else self.guarded.notes())
        earlier = read_json(self.flips_file) if self.flips_file.is_file() else []
        write_json(self.flips_file, [row for row in earlier if row["round"] < epoch] + [entry])
        self.store.prune(epoch - self.history_epochs)
        logger.info("label correction after epoch %d: %s", epoch, summary(entry))


def _per_class(value: float | Sequence[float], classes: int) -> list[float]:
    return [float(value)] * classes if isinstance(value, (int, float)) else [float(v) for v in value]


def _wait() -> None:
    if idist.get_world_size() > 1:
        idist.barrier()
