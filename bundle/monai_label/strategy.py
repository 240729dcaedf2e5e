"""Which study to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from bundle.monai_label.names import SUBMITTED, TAG
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
        while True:
            # One look at the list: to ask for each study's files takes seconds where there are a thousand.
            studies: Mapping[str, Any] = datastore.json()["objects"]
            open_studies = [case for case in sorted(studies) if not _is_submitted(case, studies[case], datastore)]
            if not open_studies:
                return None
            case = min(open_studies, key=lambda case: _order(studies[case]))
            if TAG not in studies[case]["labels"] or TAG in datastore.get_labels_by_image_id(case):
                break  # else its image was replaced, and with it went its label
        label = _label(studies[case])
        return {
            "id": case,
            "weight": _trust(label),
            **{key: label[key] for key in ("predicted_dice", "doubted") if key in label},
        }


def _is_submitted(case: str, study: Mapping[str, Any], datastore: ReloadingDatastore) -> bool:
    return SUBMITTED in study["labels"] and datastore.is_submitted(case)


def _label(study: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of a study's label; nothing where there is none."""
    known: Mapping[str, Any] = study["labels"].get(TAG, {}).get("info", {})
    return known


def _trust(label: Mapping[str, Any]) -> float:
    return float(min(label.get("predicted_dice", {}).values(), default=1.0))


def _order(study: Mapping[str, Any]) -> tuple[float, float]:
    """When a study was offered, if that was since it has its label, and how far that is trusted."""
    label, offered = _label(study), _offered(study["image"]["info"])
    return offered if offered >= label.get("ts", 0) else 0.0, _trust(label)


def _offered(image: Mapping[str, Any]) -> float:
    """When this strategy offered a study last, as MONAI Label notes it."""
    return float(image.get("strategy", {}).get(NAME, {}).get("ts", 0))
