"""Which of a study's labels its viewer gets."""

from __future__ import annotations

from typing import Any

from bundle.monai_label.names import SUBMITTED, TAG
from bundle.monai_label.studies.reloading import ReloadingDatastore
from scripts.data.reading.slicer_segments import is_background


def label_of_study(studies: ReloadingDatastore, study: str) -> dict[str, Any]:
    """{"stored": file, "stored_info"} of the label that the trainer's model answers with; nothing where there is none.

    It is what the last training left, or whole organs that the user submitted since.
    """
    if TAG not in studies.get_labels_by_image_id(study):
        return {}
    tag, info = TAG, studies.get_label_info(study, TAG)
    if studies.is_submitted(study):
        submitted = studies.get_label_info(study, SUBMITTED)
        names = [row["name"] for row in submitted.get("label_info") or [] if row.get("name") is not None]
        if names and submitted.get("ts", 0) > info.get("ts", 0) and not any(map(is_background, names)):
            tag, info = SUBMITTED, submitted
    return {"stored": studies.get_label_uri(study, tag), "stored_info": info}
