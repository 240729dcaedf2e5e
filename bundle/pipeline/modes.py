"""The modes by name, and named sets of weights."""

from __future__ import annotations

from pathlib import Path

from bundle.pipeline import default_mode, paper_mode
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.plan import Mode
from scripts.common.errors import BundleError

MODES: dict[str, Mode] = {"paper": paper_mode.MODE, "default": default_mode.MODE}
SHIPPED = BUNDLE_ROOT / "models"
FULL = "full"


def of_configuration(weights: Path, small: bool) -> Path:
    """Where in a folder of weights a configuration's networks lie: the full one's in `full/`, the small one's beside.

    Args:
        weights: such as `models/abdomen_ct`.
        small: whether the configuration is the small one.
    """
    return weights if small else weights / FULL


def weights_folder(name_or_folder: str, mode: str, small: bool, shipped: Path = SHIPPED) -> Path:
    """A shipped set of weights by name, or a folder holding the mode's networks (or `prnet/` with them).

    The full configuration takes the small one's networks where there are no others.

    Args:
        name_or_folder: the set's name, or a folder.
        mode: whose networks.
        small: whether the configuration is the small one.
        shipped: where named sets live.

    Raises:
        BundleError: neither.
    """
    networks = MODES[mode].networks
    given = Path(name_or_folder)
    places = (shipped / name_or_folder, given, given / "prnet")
    for folder in (of_configuration(place, choice) for place in places for choice in (small, True)):
        if all((folder / name / "model.pt").is_file() for name in networks):
            return folder.absolute()
    sets = ", ".join(sorted(path.parent.name for path in shipped.glob(f"*/{networks[0]}"))) or "none is shipped"
    files = " and ".join(f"{name}/model.pt" for name in networks)
    raise BundleError(
        f"no weights for mode {mode} of that name or in that folder",
        stage="settings",
        expected=f"--weights with a shipped set ({sets}), or with a folder that holds {files}",
        found=name_or_folder,
    )
