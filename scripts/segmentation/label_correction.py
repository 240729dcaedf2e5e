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
from monai.networks.utils import eval_mode

from scripts.common.files import read_json, write_json
from scripts.segmentation.label_store import LabelStore
from scripts.segmentation.loss import merge_unlocated
from scripts.segmentation.transforms import CachedCases, current_label

logger = logging.getLogger(__name__)


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


def count_flips(label: torch.Tensor, corrected: torch.Tensor, classes: int) -> torch.Tensor:
    """(K + 2, K + 1) int64: voxels flipped from the row's class (last: undecided) to the column's.

    Args:
        label: (X, Y, Z) before.
        corrected: (X, Y, Z) after; what is undecided now, or again, counts nowhere.
        classes: K + 1.
    """
    flipped = (corrected != label) & (corrected < classes)
    pairs = label[flipped].long() * classes + corrected[flipped]
    return torch.bincount(pairs, minlength=(classes + 1) * classes).reshape(classes + 1, classes)


def guarded(first: torch.Tensor, corrected: torch.Tensor, classes: int, guard: float | None) -> torch.Tensor:
    """Take back what would erase or flood a class: self-training's classes vanish little by little.

    A class whose voxels outside and inside the first label differ by more than `guard` times its first size keeps its
    first voxels, and gains none.

    Args:
        first: (X, Y, Z) label before any correction, class indices 0..K and K + 1 where undecided.
        corrected: (X, Y, Z) after it.
        classes: K + 1.
        guard: largest share of a class that may be lost, or gained from what was decided; None allows everything.

    Returns:
        (X, Y, Z) as `corrected`.
    """
    if guard is None:
        return corrected
    result = corrected.clone()
    for value in range(1, classes):
        before, after = first == value, corrected == value
        lost, gained = (before & ~after).sum(), (after & ~before & (first < classes)).sum()
        if max(lost, gained) > guard * before.sum():
            result[before | after] = first[before | after]
    return result


@dataclass(frozen=True)
class DeltaSchedule:
    """The confidence a flip needs: `start`, times `factor` each epoch, never below `floor`.

    Each is one number for all classes, or K + 1 numbers with the background first.

    Attributes:
        start: confidence that the first correction needs.
        factor: by which it changes with each epoch.
        floor: what it never falls below.
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
        flips_file: JSON list, one entry a round: round (the epoch), delta and flips per class, voxels flipped.
        device: where the network is.
        schedule: thresholds by epochs since `start_epoch`.
        start_epoch: first epoch after which labels are corrected.
        interval: epochs between two rounds.
        history_epochs: rounds are kept so that training can go back that many epochs (checkpoints kept times their
            interval).
        guard: see `guarded`; None as in the paper.
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
        guard: float | None = None,
    ) -> None:
        self.dataset, self.store = dataset, store
        self.network, self.inferer = network, inferer
        self.names = ["background", *classes]
        self.flips_file = Path(flips_file)
        self.device = torch.device(device)
        self.schedule = schedule or DeltaSchedule()
        self.start_epoch, self.interval, self.history_epochs = start_epoch, interval, history_epochs
        self.guard = guard

    def attach(self, engine: Engine) -> None:
        """Register on the training engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.follow_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.correct)

    def follow_epoch(self, engine: Engine) -> None:
        """Drop rounds of a later epoch than the ones completed, as after a kill."""
        if idist.get_rank() == 0:
            self.store.rollback(engine.state.epoch - 1)
        _wait()

    def correct(self, engine: Engine) -> None:
        """Write a round, if its turn has come."""
        epoch = engine.state.epoch
        since_start = epoch - self.start_epoch
        if since_start < 0 or since_start % self.interval:
            return
        delta = self.schedule(since_start, len(self.names))
        flips = self._correct_share(epoch, delta)
        if idist.get_world_size() > 1:
            flips = cast(torch.Tensor, idist.all_reduce(flips.to(self.device))).cpu()
            _wait()
        if idist.get_rank() == 0:
            self._finish(epoch, delta, flips)
        _wait()

    def _correct_share(self, epoch: int, delta: Sequence[float]) -> torch.Tensor:
        flips = torch.zeros(len(self.names) + 1, len(self.names), dtype=torch.int64)
        for index in range(idist.get_rank(), len(self.dataset), idist.get_world_size()):
            item = self.dataset.preprocessed(index)
            label = current_label(item, self.store)[0].long().cpu()
            corrected = correct_labels(label, self.predict(item).cpu(), delta)
            corrected = guarded(item["label"][0].long().cpu(), corrected, len(self.names), self.guard)
            more = count_flips(label, corrected, len(self.names))
            self.store.write(epoch, item["case"], corrected.numpy(), item["label"].affine.cpu().numpy())
            flips += more
        return flips

    def predict(self, item: Mapping[Hashable, Any]) -> torch.Tensor:
        """(K + 1, X, Y, Z) probabilities of one preprocessed case; a class not located there counts as background."""
        image = item["image"].as_tensor()[None].to(self.device)
        with eval_mode(self.network), torch.inference_mode():
            logits = self.inferer(image, self.network)
            return torch.softmax(merge_unlocated(logits, item["located"][None]), dim=1)[0]

    def _finish(self, epoch: int, delta: Sequence[float], flips: torch.Tensor) -> None:
        entry = {
            "round": epoch,
            "delta": dict(zip(self.names, (round(value, 6) for value in delta), strict=True)),
            "flips": {
                name: {"added": int(flips[:, k].sum()), "removed": int(flips[k].sum())}
                for k, name in enumerate(self.names)
            },
            "decided": int(flips[-1].sum()),
            "voxels": int(flips.sum()),
        }
        self.store.finish(epoch, [self.dataset.preprocessed(i)["case"] for i in range(len(self.dataset))])
        earlier = read_json(self.flips_file) if self.flips_file.is_file() else []
        write_json(self.flips_file, [row for row in earlier if row["round"] < epoch] + [entry])
        self.store.prune(epoch - self.history_epochs)
        logger.info("label correction after epoch %d: %s", epoch, _summary(entry))


def _per_class(value: float | Sequence[float], classes: int) -> list[float]:
    return [float(value)] * classes if isinstance(value, (int, float)) else [float(v) for v in value]


def _summary(entry: dict[str, Any]) -> str:
    parts = (f"{name} +{flip['added']} -{flip['removed']}" for name, flip in entry["flips"].items())
    return f"{entry['voxels']} voxels flipped ({', '.join(parts)})"


def _wait() -> None:
    if idist.get_world_size() > 1:
        idist.barrier()
