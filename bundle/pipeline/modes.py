"""The modes by name, and named sets of weights."""

from __future__ import annotations

from pathlib import Path

from bundle.pipeline import default_mode, paper_mode
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.plan import Mode
from scripts.common.errors import BundleError

MODES: dict[str, Mode] = {"paper": paper_mode.MODE, "default": default_mode.MODE}
SHIPPED = BUNDLE_ROOT / "models"


def weights_folder(name_or_folder: str, mode: str, shipped: Path = SHIPPED) -> Path:
    """A shipped set of weights by name, or a folder holding the mode's networks (or `prnet/` with them).

    Args:
        name_or_folder: the set's name, or a folder.
        mode: whose networks.
        shipped: where named sets live.

    Raises:
        BundleError: neither.
    """
    networks = MODES[mode].networks
    given = Path(name_or_folder)
    for folder in (shipped / name_or_folder, given, given / "prnet"):
        if all((folder / name / "model.pt").is_file() for name in networks):
            return folder.absolute()
    sets = ", ".join(sorted(path.parent.name for path in shipped.glob(f"*/{networks[0]}"))) or "none is shipped"
    files = " and ".join(f"{name}/model.pt" for name in networks)
    raise BundleError(
        f"no weights for mode {mode} of that name or in that folder",
        stage="settings",
        expected=f"a shipped set ({sets}), or a folder with {files}",
        found=name_or_folder,
    )
