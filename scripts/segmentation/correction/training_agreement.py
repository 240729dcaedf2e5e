"""How far the network agrees with its labels while it is trained: one point of each class's curve an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.utils import CommonKeys

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.segmentation.loss import merge_unlocated


def overlap_counts(logits: torch.Tensor, label: torch.Tensor, located: torch.Tensor) -> torch.Tensor:
    """(2, K) int64: voxels in which network and label both say a class, and in which either does.

    Args:
        logits: (B, K + 1, X, Y, Z), background first.
        label: (B, 1, X, Y, Z) class indices, K + 1 where undecided, which counts nowhere.
        located: (B, K), 0 for classes that say nothing in a sample; they count nowhere there.
    """
    likely = merge_unlocated(logits, located).argmax(dim=1, keepdim=True)
    classes = logits.shape[1]
    counts = torch.zeros(2, classes - 1, dtype=torch.int64, device=logits.device)
    for value in range(1, classes):
        counted = (label < classes) & located[:, value - 1].bool().reshape(-1, 1, 1, 1, 1).to(label.device)
        predicted, labelled = (likely == value) & counted, (label == value) & counted
        counts[0, value - 1] = (predicted & labelled).sum()
        counts[1, value - 1] = (predicted | labelled).sum()
    return counts


class TrainingAgreement:
    """Intersection over union of network and labels on the patches of an epoch, before each step.

    Args:
        file: JSON list, one entry an epoch; training that resumes drops what is later, and needs what is earlier.
        names: of the K classes.
        device: where ranks meet.
    """

    def __init__(self, file: str | Path, names: list[str], device: torch.device) -> None:
        self.file, self.names, self.device = Path(file), names, device
        self._counts = torch.zeros(2, len(names), dtype=torch.int64)

    def begin(self, epoch: int) -> None:
        """Start an epoch; what was kept of it and of later ones is of a training that was stopped.

        Raises:
            BundleError: epochs before it are missing, without which labels would be corrected otherwise.
        """
        self._counts = torch.zeros_like(self._counts)
        if idist.get_rank() == 0:
            rows = self._rows()
            kept = [row for row in rows if row["epoch"] < epoch]
            if (epochs := [row["epoch"] for row in kept]) != [*range(1, epoch)]:
                raise BundleError(
                    "the curves of agreement are incomplete",
                    stage="label correction",
                    file=self.file,
                    expected=f"epochs 1 to {epoch - 1} (delete the segmentation folder to train anew)",
                    found=", ".join(map(str, epochs)) or "none",
                )
            if len(kept) < len(rows):
                write_json(self.file, kept)

    def watch(self, engine: Engine) -> None:
        """Take in one batch, after its forward pass."""
        output = cast(dict[str, Any], engine.state.output)
        target = output[CommonKeys.LABEL]
        with torch.no_grad():
            counts = overlap_counts(output[CommonKeys.PRED].detach(), target[CommonKeys.LABEL], target["located"])
        self._counts = self._counts.to(counts.device) + counts

    def finish(self, epoch: int) -> None:
        """Keep the epoch's point of each curve."""
        counts = self._counts
        if idist.get_world_size() > 1:
            counts = torch.as_tensor(idist.all_reduce(counts.to(self.device)))
        shared, either = counts.cpu().double()
        if idist.get_rank() == 0:
            overlap = [float(a / b) if b else 0.0 for a, b in zip(shared, either, strict=True)]
            entry = {"epoch": epoch, "iou": dict(zip(self.names, overlap, strict=True))}
            write_json(self.file, [*self._rows(), entry])

    def curves(self) -> list[list[float]]:
        """Of each class, epoch by epoch."""
        rows = self._rows()
        return [[float(row["iou"][name]) for row in rows] for name in self.names]

    def _rows(self) -> list[dict[str, Any]]:
        return read_json(self.file) if self.file.is_file() else []
