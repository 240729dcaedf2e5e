"""How far predicted offsets are from the true ones, as a metric of MONAI's engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import CommonKeys

from scripts.point_propagation.relative_position import predicted_offset_mm


class OffsetErrorMm:
    """Mean Euclidean error in mm of the predicted offsets of one engine output, for `ignite.metrics.Average`."""

    def __init__(self, max_offset_mm: Sequence[float]) -> None:
        self.max_offset_mm = torch.tensor(max_offset_mm, dtype=torch.float32)

    def __call__(self, output: dict[str, Any]) -> float:
        """`output` is the state output of a MONAI engine whose prediction and label are those of the loss above."""
        position_0, position_1 = output[CommonKeys.PRED]["position"].chunk(2)
        predicted = predicted_offset_mm(position_0, position_1, self.max_offset_mm.to(position_0.device))
        return float((predicted - output[CommonKeys.LABEL]["offset_mm"]).norm(dim=1).mean())
