"""Checks as a self-check may leave them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scripts.quality.records import CheckRecord, ClassCheck

UNREMARKABLE = ClassCheck(
    predicted_dice=0.9,
    interval=(0.85, 0.95),
    agreed_dice=0.9,
    border_confidence=1.0,
    agreement={"case_0": 0.88},
    volume_ml=150.0,
    median_hu=110.0,
    flagged=False,
    rater_agreement={"pseudo label": 0.92},
)


def class_check(**changes: Any) -> ClassCheck:
    """A class that nothing speaks against, but for `changes`."""
    return replace(UNREMARKABLE, **changes)


def check_record(case: str, classes: Mapping[str, ClassCheck], *reasons: str) -> CheckRecord:
    """The record of a case, flagged as a whole if there are reasons."""
    return CheckRecord(case, 0.6, 0.98, bool(reasons), reasons, classes)
