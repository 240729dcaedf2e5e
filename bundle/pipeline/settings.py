"""What the user asked for, kept in `OUTPUT/run.json` so that later commands need not be told again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.pipeline.aliases import current_overrides, current_settings
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json

FILE_NAME = "run.json"
DEFAULT_MODE = "default"
PATHS = ("images", "support", "scribbles", "weights", "support_mask", "accepted")


@dataclass(frozen=True)
class RunSettings:
    """What the user asked for.

    Attributes:
        output: the work directory.
        images: folder of volumes.
        support: the scribbled volume.
        scribbles: its scribbles.
        classes: name -> value, "name:value,..." or None for what dataset.json or the scribbles say.
        background: value of the background strokes, or None.
        mode: which configuration of the method.
        small: patch every stage for two CPU cores.
        device: for the networks; None takes a GPU if there is one.
        weights: folder of the networks that locate points, instead of training them.
        support_mask: label map of the support's whole organs, looked at and corrected by the user (mode `default`);
            None takes it as it grows from the scribbles.
        accepted: folder of label maps `ID.nii.gz` of other cases that the user looked at and corrected (mode
            `default`).
        overrides: stage -> config key -> value, on top of everything; names of the version before are replaced.
    """

    output: Path
    images: Path
    support: Path
    scribbles: Path
    classes: Mapping[str, int] | str | None = None
    background: int | None = None
    mode: str = DEFAULT_MODE
    small: bool = False
    device: str | None = None
    weights: Path | None = None
    support_mask: Path | None = None
    accepted: Path | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", current_overrides(self.overrides))


def save_settings(settings: RunSettings) -> None:
    """Write `OUTPUT/run.json`: everything but the output folder itself and the device."""
    paths = {name: getattr(settings, name) for name in PATHS}
    content: dict[str, Any] = {
        name: None if path is None else str(Path(path).absolute()) for name, path in paths.items()
    }
    content |= {
        "classes": settings.classes if isinstance(settings.classes, str | None) else dict(settings.classes),
        "background": settings.background,
        "mode": settings.mode,
        "small": settings.small,
        "overrides": {stage: dict(values) for stage, values in settings.overrides.items()},
    }
    write_json(Path(settings.output) / FILE_NAME, content)


def saved_settings(output: str | Path) -> dict[str, Any]:
    """Arguments for `RunSettings` as the last run left them, empty if there was none.

    Raises:
        BundleError: the file is damaged.
    """
    file = Path(output) / FILE_NAME
    if not file.exists():
        return {}
    content = read_json(file)
    content = current_settings(content) if isinstance(content, dict) else content
    known = set(RunSettings.__dataclass_fields__)
    if not isinstance(content, dict) or not set(content) <= known or not isinstance(content.get("overrides", {}), dict):
        raise BundleError(
            "the run's settings are damaged; delete the file and name the input again",
            stage="settings",
            file=file,
            expected=", ".join(sorted(known)),
            found=sorted(content) if isinstance(content, dict) else content,
        )
    paths = {name: Path(content[name]) for name in PATHS if content.get(name)}
    return {**content, **paths}
