"""Which study to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.tasks.strategy import Strategy

from bundle.monai_label.names import SUBMITTED, TAG


class LeastTrusted(Strategy):
    """The study whose label the self-check trusts least, among those that the user has not submitted."""

    def __init__(self) -> None:
        super().__init__("Least trusted result first")

    def __call__(self, request: Mapping[str, Any], datastore: LocalDatastore) -> dict[str, Any] | None:
        """{"id": study, "weight": predicted Dice of its worst class}; studies without a result come last."""
        trust = {}
        for case in sorted(datastore.list_images()):
            tags = datastore.get_labels_by_image_id(case)
            if SUBMITTED not in tags:
                quality = datastore.get_label_info(case, TAG).get("predicted_dice", {}) if TAG in tags else {}
                trust[case] = min(quality.values(), default=1.0)
        if not trust:
            return None
        case = min(trust, key=trust.__getitem__)
        return {"id": case, "weight": trust[case]}
