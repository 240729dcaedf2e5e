"""Whether what a user sets fits a stage's config: known keys, values of the kind that they replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.arguments import DEFAULT_MODE
from bundle.config_values import Expression, as_config
from bundle.pipeline.configs import (
    CONFIGS,
    MOST_KEYS,
    UnknownKeyError,
    is_expression,
    key_path,
    read_configs,
    refuse_code,
    value_at,
)
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import STAGES, config_names
from bundle.setting_list import settings_of
from scripts.common.errors import BundleError
from scripts.common.names import likely_names
from scripts.common.schema import is_finite, shown

# Keys whose numbers are of no use unless above 0; their stages would notice only after hours of earlier ones.
ABOVE_ZERO = {
    "batch_size",
    "channels",
    "iterations_per_epoch",
    "learning_rate",
    "max_epochs",
    "patch_size",
    "patches_per_volume",
    "samples_per_epoch",
    "spacing_mm",
    "volumes_per_batch",
}


def check_overrides(settings: RunSettings) -> None:
    """Refuse `--set` of stages that the mode does not run, and see `check_values`.

    Raises:
        BundleError: the first that does not fit.
    """
    for stage, overrides in settings.overrides.items():
        if stage not in STAGES[settings.mode]:
            problem, names = f"mode {settings.mode} has no such stage", ", ".join(STAGES[settings.mode])
            raise BundleError(problem, stage="settings", expected=names, found=stage)
        try:
            check_values(config_names(stage, settings), overrides)
        except UnknownKeyError as error:
            raise _with_remedy(error, stage, settings) from error


def _with_remedy(error: UnknownKeyError, stage: str, settings: RunSettings) -> BundleError:
    """The same error, with the settings of the stage that may have been meant, and the command that lists them all."""
    names = error.expected
    if error.found == error.key:
        known = [setting.key for setting in settings_of(read_configs(config_names(stage, settings)))]
        names = "such as " + likely_names(error.key, known, MOST_KEYS)
    command = f"settings {stage}" + ("" if settings.mode == DEFAULT_MODE else f" --mode {settings.mode}")
    return BundleError(error.problem, stage=error.stage, expected=f"{names}; `{command}` lists all", found=error.found)


def check_values(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that the config does not have, or of another kind than what they replace.

    An `Expression` is not judged; what replaces an expression or null may be any data.

    Raises:
        BundleError: a key that is not in the config, code that data would replace, or a value of another kind.
    """
    config, file = read_configs(names), CONFIGS / names[0]
    for key, value in overrides.items():
        path = key_path(config, key, file)
        refuse_code(path, value, file)
        before = value_at(config, path, key, file)
        expected = _expected_kind(before)
        if isinstance(value, Expression):
            continue
        fits = _is_data(value) and (expected is None or _fits(value, before))
        if fits and path.split("#")[-1] in ABOVE_ZERO and _has_none_or_less(value):
            fits, expected = False, "above 0"
        if not fits:
            raise BundleError(
                f"the config key {key!r} cannot have this value",
                stage="settings",
                file=file,
                expected="numbers, texts, lists and tables"
                if expected is None
                else f"{expected}, such as {shown(before)}",
                found=shown(value),
            )


def _has_none_or_less(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return any(is_finite(number) and number <= 0 for number in numbers)


def _is_data(value: Any) -> bool:
    """Whether this can be told a config, and is not meant to be a component."""
    try:
        as_config(value)
    except (TypeError, ValueError):
        return False
    return not _holds_component(value)


def _holds_component(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_component, value.values()))
    return isinstance(value, list) and any(map(_holds_component, value))


def _expected_kind(before: Any) -> str | None:
    """What may replace `before`, in words; None if anything may."""
    if isinstance(before, bool):
        return "true or false"
    if isinstance(before, int):
        return "a whole number"
    if isinstance(before, float):
        return "a number"
    if isinstance(before, str) and not is_expression(before):
        return "a text"
    if isinstance(before, Mapping) and "_target_" in before:
        return "null, which leaves the component out, or an expression on the command line"
    if isinstance(before, list) and before and all(map(is_finite, before)):
        return "three numbers, X, Y, Z" if len(before) == 3 else "a list of numbers"
    return None


def _fits(value: Any, before: Any) -> bool:
    if isinstance(before, Mapping):
        return value is None
    if isinstance(before, list):
        numbers = isinstance(value, list) and bool(value) and all(map(is_finite, value))
        return numbers and (len(before) != 3 or len(value) == 3)
    if isinstance(before, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(before, bool)
    if isinstance(before, float):
        return is_finite(value)
    return isinstance(value, type(before))
