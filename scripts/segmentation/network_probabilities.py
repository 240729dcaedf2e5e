"""The network's own class probabilities of a case, kept for the ensemble (mode `default`)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from scripts.common.failures import blamed
from scripts.common.made_of import write_record
from scripts.common.work_folder import LabelFolder
from scripts.data.probability_maps import write_probabilities


class KeepProbabilitiesd(MapTransform):
    """Writes class probabilities on the network's grid, and a record; leaves the item as it is.

    Args:
        keys: logits (1 + K, X, Y, Z), background first.
        output_dir: of the network's label maps; see `LabelFolder.own`.
        image_key: the network's input, a MetaTensor on the grid of the logits.
        made_of: case -> fingerprint of all that its result depends on, for the record; None takes that of the result.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        image_key: str = "image",
        made_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(keys)
        self.own, self.image_key, self.made_of = LabelFolder(Path(output_dir)).own, image_key, dict(made_of or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, case = dict(data), data["case"]
        with blamed("inference", case):
            logits = torch.as_tensor(result[self.first_key(result)])
            probabilities = torch.softmax(logits.float(), dim=0).cpu().numpy()
            affine = np.asarray(data[self.image_key].affine, dtype=float)
            file = self.own.probabilities(case)
            write_probabilities(file, probabilities, affine)
            made_of = self.made_of.get(case) or sha256(probabilities.tobytes()).hexdigest()
            write_record(self.own.record(case), {"case": case}, made_of, [file])
        return result
