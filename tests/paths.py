"""Where things lie that tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
# Real CT, where there is any: `ONESHOT_DATA` names the folder, or it lies beside the repository in `shared/data`.
DATA = Path(os.environ.get("ONESHOT_DATA", ROOT.parent / "shared" / "data"))
