"""Which options of a run differ from those of the run before in its folder, in words."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bundle.arguments import MODELS
from bundle.pipeline.settings import RunSettings
from scripts.common.errors import BundleError
from scripts.common.schema import shown
from scripts.data.stroke_classes import parse_classes

NOT_GIVEN = "not given"
LONGEST = 150  # signs of a value in the sentence
OPTIONS = (
    *("images", "support", "scribbles", "classes", "background", "modality", "mode", "small"),
    *("bounded_labels", "all_pairs", "weights", "support_mask", "accepted"),
)


def changed_options(saved: Mapping[str, Any], settings: RunSettings) -> list[str]:
    """Each option that changed, such as "--weights: abdomen_ct -> not given".

    Args:
        saved: arguments of `RunSettings` as the run before left them, see `saved_settings`.
        settings: of this run.
    """
    inputs = dict.fromkeys(("images", "support", "scribbles"))
    earlier = RunSettings(**{**inputs, **saved, "output": settings.output})
    pairs = [(f"--{name.replace('_', '-')}", _text(name, earlier), _text(name, settings)) for name in OPTIONS]
    for stage in {**earlier.overrides, **settings.overrides}:
        old, new = earlier.overrides.get(stage, {}), settings.overrides.get(stage, {})
        for key in {**old, **new}:
            before, now = (shown(values[key]) if key in values else NOT_GIVEN for values in (old, new))
            pairs.append((f"--set {stage}.{key}", before, now))
    return [f"{option}: {_cut(old)} -> {_cut(new)}" for option, old, new in pairs if old != new]


def _text(name: str, settings: RunSettings) -> str:
    """The value of an option in words, the same for what means the same."""
    value = getattr(settings, name)
    if name == "weights":
        return _weights(value, settings.output)
    if name == "classes" and value is not None:
        return _classes(value)
    if value is None or isinstance(value, bool):
        return {None: NOT_GIVEN, True: "yes", False: "no"}[value]
    if isinstance(value, Path):
        return str(value.absolute())
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _weights(folder: Path | None, output: Path) -> str:
    """A shipped set by its name; networks that were trained in the output folder are none that were given."""
    if folder is None or folder.absolute().is_relative_to(output.absolute()):
        return NOT_GIVEN
    return folder.relative_to(MODELS).parts[0] if MODELS in folder.parents else str(folder.absolute())


def _classes(classes: Mapping[str, int] | str) -> str:
    if isinstance(classes, str):
        with suppress(BundleError):  # the run itself refuses them
            classes = parse_classes(classes) or {}
    return classes if isinstance(classes, str) else ",".join(f"{name}:{value}" for name, value in classes.items())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
