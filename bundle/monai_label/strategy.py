"""Which study to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from bundle.monai_label.names import TAG
from bundle.monai_label.studies.reloading import ReloadingDatastore

NAME = "least_trusted"


class LeastTrusted(Strategy):
    """The study whose label the self-check trusts least, among those that the user has not submitted.

    Who asks again without submitting skips the study: it comes back after all others, or with a new label.
    """

    def __init__(self) -> None:
        super().__init__("Least trusted result first; ask again to skip a study")

    def __call__(self, request: Mapping[str, Any], datastore: ReloadingDatastore) -> dict[str, Any] | None:
        """{"id": study, "weight": predicted Dice of its worst class, and what is known of its label}.

        Studies without a result come last.
        """
        known: dict[str, tuple[float, float, Mapping[str, Any]]] = {}
        for case in sorted(datastore.list_images()):
            tags = datastore.get_labels_by_image_id(case)
            if not datastore.is_submitted(case):
                label: Mapping[str, Any] = datastore.get_label_info(case, TAG) if TAG in tags else {}
                offered = _offered(datastore.get_image_info(case))
                shown = offered if offered >= label.get("ts", 0) else 0.0
                known[case] = shown, min(label.get("predicted_dice", {}).values(), default=1.0), label
        if not known:
            return None
        case = min(known, key=lambda case: known[case][:2])
        _, trust, label = known[case]
        return {
            "id": case,
            "weight": trust,
            **{key: label[key] for key in ("predicted_dice", "doubted") if key in label},
        }


def _offered(image: Mapping[str, Any]) -> float:
    """When this strategy offered a study last, as MONAI Label notes it."""
    return float(image.get("strategy", {}).get(NAME, {}).get("ts", 0))
