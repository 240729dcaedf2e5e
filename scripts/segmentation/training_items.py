"""What the segmentation network learns from: cases with their pseudo labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cache_cohort import present_cohort
from scripts.data.records import PseudoLabelRecord
from scripts.quality.records import distrusted

logger = logging.getLogger(__name__)


def training_items(
    work_dir: str | Path,
    classes: Mapping[str, int],
    validation_count: int = 0,
    validation: bool = False,
    checks_dir: str | Path | None = None,
    least_agreed_dice: float = 0.5,
    labels_dir: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Cases with their pseudo labels: [{"image", "label", "case", "not_located": [class, ...], "image_sha256"}].

    A class whose pseudo label the self-check distrusts counts as not located. A case in which no class was located
    supervises nothing and is left out; so is one whose image was replaced since its pseudo label was made.

    Args:
        work_dir: the work directory with `cohort.json`.
        classes: name -> label value, those to be trained.
        validation_count: cases set aside to watch training (never used to choose weights).
        validation: return those instead of the training cases.
        checks_dir: what the self-check says about the pseudo labels; None trusts all.
        least_agreed_dice: a class whose predicted Dice is below is distrusted.
        labels_dir: the pseudo labels, `ID.nii.gz` and `ID.json`; None for `pseudo_labels/` in the work directory.

    Raises:
        BundleError: no pseudo labels, or pseudo labels of other classes.
    """
    cohort = present_cohort(work_dir)
    ids = cohort.split(validation_count)[1 if validation else 0]
    labels = WorkFolder(cohort.output_dir).pseudo_labels if labels_dir is None else LabelFolder(Path(labels_dir))
    items = []
    for case in ids:
        if not labels.record(case).is_file() or not labels.label(case).is_file():
            logger.warning("case %s has no pseudo label and is left out", case)
            continue
        record, image = _record(case, labels.record(case), classes), cohort.cases[case]
        if record.image_sha256 not in (None, image.sha256):
            logger.warning("case %s is left out: its pseudo label is of an image that was replaced since", case)
            continue
        not_located = set(record.not_located)
        if checks_dir is not None:
            not_located |= set(distrusted(checks_dir, case, least_agreed_dice))
        missing = [name for name in classes if name in not_located]
        if len(missing) == len(classes):
            logger.warning("case %s is left out: none of its classes was located", case)
            continue
        item = {"image": str(image.image), "label": str(labels.label(case)), "case": case, "not_located": missing}
        items.append({**item, "image_sha256": image.sha256})
    if not items and not validation:
        raise BundleError(
            "there are no pseudo labels to train on",
            stage="segmentation",
            file=labels.path,
            expected="ID.nii.gz and ID.json, with at least one class located",
            found=f"none for {len(ids)} cases",
        )
    return items


def _record(case: str, file: Path, classes: Mapping[str, int]) -> PseudoLabelRecord:
    """Of a pseudo label that has these classes."""
    record = PseudoLabelRecord.read(file)
    if any(record.classes.get(name) != value for name, value in classes.items()):
        raise BundleError(
            "the pseudo labels are of other classes",
            case=case,
            stage="segmentation",
            file=file,
            expected=f"{dict(classes)}, or --classes with the values of that folder",
            found=dict(record.classes),
        )
    return record
