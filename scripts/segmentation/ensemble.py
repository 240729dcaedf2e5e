"""The trained network beside the atlases (mode `default`): final label maps grow from the mean of both.

The atlases know one case, the network has learned from all of them; they err in different places.
"""

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
from scripts.common.made_of import fingerprint, recorded_hash, write_record
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.probability_maps import probabilities_on_grid, read_probabilities, write_probabilities
from scripts.data.records import PropagationRecord


class JoinProbabilitiesd(MapTransform):
    """Writes the mean of a network's and of the atlases' class probabilities; leaves the item as it is.

    `OUTPUT/propagation/ID_probabilities.nii.gz` lies on the network's grid, `ID.json` beside it is the atlases' record,
    with what these probabilities were made of.

    Args:
        keys: logits (1 + K, X, Y, Z), background first.
        probabilities_dir: holds `ID_probabilities.nii.gz` and `ID.json` of the same classes, for each item's "case".
        output_dir: `propagation/` is made there.
        network_share: weight of the network in the mean, the atlases have the rest.
        image_key: the network's input, a MetaTensor on the grid of the logits.
        made_of: case -> fingerprint of all that its mean depends on, for the record; None takes that of the two sets of
            probabilities.

    Raises:
        BundleError: the case has no class probabilities.
    """

    def __init__(
        self,
        keys: KeysCollection,
        probabilities_dir: str | Path,
        output_dir: str | Path,
        network_share: float = 0.5,
        image_key: str = "image",
        made_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(keys)
        self.atlases = PropagationFolder(Path(probabilities_dir))
        self.joined = LabelFolder(Path(output_dir)).joined
        self.network_share, self.image_key = network_share, image_key
        self.made_of = dict(made_of or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        with blamed("inference", data["case"]):
            return self._joined(data)

    def _joined(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, case = dict(data), data["case"]
        record = PropagationRecord.read(self.atlases.record(case))
        file = self.atlases.probabilities(case)
        atlases, atlases_affine = read_probabilities(file)
        affine = np.asarray(data[self.image_key].affine, dtype=float)
        logits = torch.as_tensor(result[self.first_key(result)])
        network = torch.softmax(logits.float(), dim=0).cpu().numpy()
        x, y, z = network.shape[1:]
        propagated = probabilities_on_grid(atlases, atlases_affine, affine, (x, y, z))
        joined = self.network_share * network + (1 - self.network_share) * propagated
        write_probabilities(self.joined.probabilities(case), joined, affine)
        inputs = {
            "atlases": recorded_hash(self.atlases.record(case), file),
            "network": sha256(network.tobytes()).hexdigest(),
            "network_share": self.network_share,
        }
        files = [self.joined.probabilities(case)]
        made_of = self.made_of.get(case) or fingerprint(inputs)
        write_record(self.joined.record(case), record.to_json(), made_of, files)
        return result
