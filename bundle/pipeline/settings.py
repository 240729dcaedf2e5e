"""What the user asked for, kept in `OUTPUT/run.json` so that later commands need not be told again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.arguments import DEFAULT_MODE, MODALITIES, MODES
from bundle.config_values import EVALUATED, last_of_each
from bundle.pipeline.aliases import current_overrides, current_settings
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.common.names import CASE_NAME, is_case_name
from scripts.common.schema import (
    ANYTHING,
    BOOLEAN,
    LINE,
    NULL,
    Kind,
    check_table,
    either,
    list_of,
    one_of,
    read_checked,
    table_of,
    whole,
)
from scripts.common.work_folder import WorkFolder
from scripts.data.gate.modality import AUTO
from scripts.data.stroke_classes import LARGEST_LABEL

STAGE = "settings"
PATHS = ("images", "support", "scribbles", "weights", "support_mask")
SCHEMA = {
    **dict.fromkeys(PATHS, either(NULL, LINE)),
    "accepted": either(NULL, LINE, list_of(Kind(CASE_NAME, is_case_name), 0, 1_000_000)),
    "classes": either(NULL, LINE, table_of(whole(1, LARGEST_LABEL))),
    "background": either(NULL, whole(1, LARGEST_LABEL + 1)),
    "mode": either(NULL, one_of(*MODES)),
    "modality": either(NULL, one_of(*MODALITIES)),
    "small": either(NULL, BOOLEAN),
    "bounded_labels": either(NULL, BOOLEAN),
    "all_pairs": either(NULL, BOOLEAN),
    "overrides": either(NULL, table_of(table_of(ANYTHING))),
}


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
        modality: "ct", "mr", or "auto" for what the support is.
        mode: which configuration of the method.
        small: patch every stage for two CPU cores.
        bounded_labels: no class may flood what surrounds it (mode `paper`); None: in the small configuration.
        all_pairs: PRNet learns from all pairs of a volume's patches (mode `paper`).
        device: for the networks; None takes a GPU if there is one.
        weights: folder of the networks that locate points, instead of training them.
        support_mask: label map of the support's whole organs, looked at and corrected by the user (mode `default`);
            None takes it as it grows from the scribbles.
        accepted: folder of label maps `ID.nii.gz` of other cases that the user looked at and corrected; or names of
            cases whose label maps in the output folder are as they should be (mode `default`).
        overrides: stage -> config key -> value, on top of everything; names of the version before are replaced.
    """

    output: Path
    images: Path
    support: Path
    scribbles: Path
    classes: Mapping[str, int] | str | None = None
    background: int | None = None
    modality: str = AUTO
    mode: str = DEFAULT_MODE
    small: bool = False
    bounded_labels: bool | None = None
    all_pairs: bool = False
    device: str | None = None
    weights: Path | None = None
    support_mask: Path | None = None
    accepted: Path | tuple[str, ...] | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", current_overrides(self.overrides))


def save_settings(settings: RunSettings) -> None:
    """Write `OUTPUT/run.json`: everything but the output folder itself and the device."""
    paths = {name: getattr(settings, name) for name in PATHS}
    content: dict[str, Any] = {
        name: None if path is None else str(Path(path).absolute()) for name, path in paths.items()
    }
    accepted = settings.accepted
    content |= {
        "accepted": str(accepted.absolute())
        if isinstance(accepted, Path)
        else None
        if accepted is None
        else [*accepted],
        "classes": settings.classes if isinstance(settings.classes, str | None) else dict(settings.classes),
        "background": settings.background,
        "modality": settings.modality,
        "mode": settings.mode,
        "small": settings.small,
        "bounded_labels": settings.bounded_labels,
        "all_pairs": settings.all_pairs,
        "overrides": {stage: dict(values) for stage, values in settings.overrides.items()},
    }
    write_json(WorkFolder(Path(settings.output)).settings, content)


def saved_settings(output: str | Path) -> dict[str, Any]:
    """Arguments for `RunSettings` as the last run left them, empty if there was none.

    Raises:
        BundleError: the file is damaged.
    """
    file = WorkFolder(Path(output)).settings
    if not file.exists():
        return {}
    problem = "the run's settings are damaged; delete the file and name the input again"
    content = current_settings(read_checked(file, {}, problem, STAGE))
    check_table(content, SCHEMA, file, problem, STAGE, closed=True)
    said = {name: value for name, value in content.items() if value is not None}
    if "accepted" in said:
        said["accepted"] = Path(said["accepted"]) if isinstance(said["accepted"], str) else tuple(said["accepted"])
    return said | {name: Path(said[name]) for name in PATHS if name in said}


def merged_overrides(
    saved: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]], file: Path
) -> dict[str, dict[str, Any]]:
    """Overrides of the run before, and on top of them those of this command, by their names of today.

    What begins with `$` was an expression when the user typed it. Who wrote the file is not known, so it is not
    evaluated again: the command must say it itself.

    Args:
        saved: of the run before, see `RunSettings`.
        given: of this command.
        file: that holds `saved`, for the message.

    Raises:
        BundleError: an expression that is only in the file.
    """
    before, now = current_overrides(saved), current_overrides(given)
    merged = {
        stage: last_of_each([*before.get(stage, {}).items(), *now.get(stage, {}).items()])
        for stage in {**before, **now}
    }
    for stage, values in merged.items():
        for key, value in values.items():
            if key not in now.get(stage, {}) and holds_expression(value):
                raise BundleError(
                    "the settings of the run before hold an expression, which is not taken from a file",
                    stage=STAGE,
                    file=file,
                    expected=f"--set '{stage}.{key}={value}' in this command, if it is yours",
                    found=f"{stage}.{key}",
                )
    return merged


def holds_expression(value: Any) -> bool:
    """Whether a value, or one within it, would be evaluated if the user typed it."""
    if isinstance(value, str):
        return value.startswith(EVALUATED)
    if isinstance(value, Mapping):
        return any(map(holds_expression, value.values()))
    return isinstance(value, list) and any(map(holds_expression, value))
