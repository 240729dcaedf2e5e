"""Which version this is: `configs/metadata.json` says it."""

from __future__ import annotations

import json
from pathlib import Path

METADATA = Path(__file__).resolve().parents[1] / "configs" / "metadata.json"


def bundle_version() -> str:
    """Such as "0.4.0"."""
    return str(json.loads(METADATA.read_text(encoding="utf-8"))["version"])
