"""The settings of a run as the command line's options say them, and what is said of an earlier run in its folder."""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from bundle.arguments import DEFAULT_MODE
from bundle.config_values import typed_overrides
from bundle.pipeline.given.changed_options import changed_options
from bundle.pipeline.given.named_cases import named_volume, parse_accepted
from bundle.pipeline.modes import weights_folder
from bundle.pipeline.settings import RunSettings, merged_overrides, saved_settings
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder

logger = logging.getLogger(__name__)


def run_settings(options: argparse.Namespace, needs_weights: bool = False) -> RunSettings:
    """What the options say; `train` takes what they leave open from the output folder.

    What differs from the run that the output folder holds is told.

    Args:
        options: of a command that runs stages, as `bundle.arguments` describes them.
        needs_weights: trained networks are needed; without `--weights` those in the output folder are taken.

    Raises:
        BundleError: an option that cannot be, or what the command needs is neither given nor in the output folder.
    """
    names = (
        *("images", "support", "scribbles", "support_mask", "accepted"),
        *("classes", "background", "modality", "mode", "bounded_labels", "all_pairs", "device"),
    )
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "accepted" in given:
        given["accepted"] = parse_accepted(given["accepted"])
    before, file = _settings_before(options), WorkFolder(options.output).settings
    saved = before if options.from_output else {}
    mode = options.mode or saved.get("mode", DEFAULT_MODE)
    small = options.small or saved.get("small", False)
    if mode == "default" and options.bounded_labels is False:
        raise BundleError("--no-bounded-labels is of no use in mode default", stage="settings", expected="mode paper")
    if (weights := _weights(options, mode, small, needs_weights)) is not None:
        given["weights"] = weights
    if "support" in given and (images := (saved | given).get("images")) is not None:
        given["support"] = named_volume(images, given["support"])
    missing = [f"--{name}" for name in ("images", "support", "scribbles") if name not in saved | given]
    if missing:
        raise BundleError(
            "nothing was run in this output folder yet",
            stage="settings",
            file=file,
            expected="the file that `propagate` or `oneshot` leaves, or " + ", ".join(missing),
            found="no such file",
        )
    overrides = merged_overrides(saved.get("overrides", {}), typed_overrides(options.set), file)
    chosen = {"mode": mode, "small": small, "overrides": overrides}
    settings = RunSettings(**saved | given | chosen | {"output": options.output})
    if before and (changed := changed_options(before, settings)):
        untrained = "weights" in before and settings.weights is None
        logger.warning(
            "the last run in %s had other options: %s. What depends on them is made again%s",
            options.output,
            "; ".join(changed),
            "; without --weights networks are trained here" if untrained else "",
        )
    return settings


def _settings_before(options: argparse.Namespace) -> dict[str, Any]:
    """Of the run in the output folder; a command that takes nothing from there does without what cannot be read."""
    with nullcontext() if options.from_output else suppress(BundleError):
        return saved_settings(options.output)
    return {}


def _weights(options: argparse.Namespace, mode: str, small: bool, needed: bool) -> Path | None:
    if options.weights is not None:
        return weights_folder(options.weights, mode, small)
    return weights_folder(str(options.output), mode, small) if needed else None
