"""What the datastore keeps beside a label map: the names of its values, and how far to trust them."""

from __future__ import annotations

from typing import Any

from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from scripts.quality.records import CheckRecord


def label_info(work: WorkFolder, case: str) -> dict[str, Any]:
    """{"label_info": names of the values, "predicted_dice": class -> Dice, "doubted": class -> reasons}.

    Args:
        work: output folder of `oneshot`.
        case: one with a label map; without a self-check nothing is predicted of it.
    """
    names = [{"name": name, "idx": value} for name, value in load_cohort(work.path).classes.items()]
    record = work.self_check / f"{case}.json"
    checks = CheckRecord.read(record).classes if record.exists() else {}
    return {
        "label_info": names,
        "predicted_dice": {name: check.predicted_dice for name, check in checks.items()},
        "doubted": {name: list(check.reasons) for name, check in checks.items() if check.flagged},
    }
