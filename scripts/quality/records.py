"""The self-check's records, and who reads them."""

from __future__ import annotations

from pathlib import Path

from scripts.common.files import read_json

STAGE = "self_check"


NETWORK = "network"  # also the folder of its own label maps


def distrusted(checks_dir: str | Path, case: str, least_agreed_dice: float) -> list[str]:
    """Classes of a case whose witnesses agree by less than `least_agreed_dice`; none where the case was not checked.

    Doubts about the support, which every case shares, do not count: else there would be nothing to learn from.
    """
    file = Path(checks_dir) / f"{case}.json"
    if not file.exists():
        return []
    return [name for name, found in read_json(file)["classes"].items() if found["agreed_dice"] < least_agreed_dice]
