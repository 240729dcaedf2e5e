"""Run one bundle config in this process, as `python -m monai.bundle run` would."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from scripts.common.errors import BundleError

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
CONFIGS = BUNDLE_ROOT / "configs"
STEPS = ("initialize", "run", "finalize")  # of a workflow: what it does, not with which values
OUR_MODULES = re.compile(r"\bscripts(?:\.\w+)*\.(?=\w)")
EXPRESSIONS = ("$", "@")  # how strings begin that MONAI evaluates or looks up


def run_config(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Run `configs/NAME` files, later ones patching earlier ones, with `overrides` on top.

    Raises:
        BundleError: an override that the config does not have, or whatever a component found wrong.
    """
    check_keys(names, overrides)
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in names],
        logging_file=False,
        workflow_type=None,
        bundle_root=str(BUNDLE_ROOT),
        **overrides,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        root = _root_of(error)
        if root is error:
            raise
        raise root from error


def read_configs(names: Sequence[str]) -> dict[str, Any]:
    """Top-level keys of `configs/NAME` files, later ones patching earlier ones."""
    merged: dict[str, Any] = {}
    for name in names:
        merged |= json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    return merged


def deciding_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config's result depends on, for fingerprints: its values, `@key` looked up, without names of code.

    A module may move and a class be renamed without any result being made again.
    """
    return {key: _resolved(value, config, ()) for key, value in config.items() if key not in ("imports", *STEPS)}


def _resolved(value: Any, config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(item, config, path) for key, item in value.items() if key != "_target_"}
    if isinstance(value, list):
        return [_resolved(item, config, path) for item in value]
    if not isinstance(value, str):
        return value
    name = value.removeprefix("@")
    if name != value and name in config and name not in path and not isinstance(config[name], Mapping):
        return _resolved(config[name], config, (*path, name))
    return OUR_MODULES.sub("", value) if value.startswith("$") else value


def read_component(names: Sequence[str], key: str) -> Any:
    """One component of `configs/NAME` files, later ones patching earlier ones, as a run would build it."""
    parser = ConfigParser(read_configs(names))
    return parser.get_parsed_content(key)


def check_keys(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that would silently do nothing.

    Raises:
        BundleError: a key that is not in the config.
    """
    config = read_configs(names)
    for key in overrides:
        _value_at(config, key, names)


def check_values(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that the config does not have, or of another kind than what they replace.

    Expressions, and whatever replaces an expression or null, are not judged.

    Raises:
        BundleError: a key that is not in the config, or a value of another kind.
    """
    config = read_configs(names)
    for key, value in overrides.items():
        before = _value_at(config, key, names)
        expected = _expected_kind(before)
        if expected is None or _is_expression(value) or _fits(value, before):
            continue
        raise BundleError(
            f"the config key {key!r} cannot have this value",
            stage="settings",
            file=CONFIGS / names[0],
            expected=f"{expected}, such as {json.dumps(before)}",
            found=json.dumps(value),
        )


def device_override(device: str | None) -> dict[str, str]:
    """{"device": ...} for a config; nothing for None, which leaves the choice to the config.

    Raises:
        BundleError: no such device on this machine.
    """
    if device is None:
        return {}
    try:
        torch.empty(0, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError and others
        raise BundleError(
            "this device cannot be used", stage="settings", expected="such as cpu or cuda:0", found=device
        ) from error
    return {"device": f"$torch.device({device!r})"}


def _value_at(config: Mapping[str, Any], key: str, names: Sequence[str]) -> Any:
    level: Any = config
    for part in key.replace("::", "#").split("#"):
        children = dict(enumerate(level)) if isinstance(level, list) else level if isinstance(level, dict) else {}
        children = {str(name): child for name, child in children.items()}
        if part not in children:
            raise BundleError(
                f"unknown config key {key!r}",
                stage="settings",
                file=CONFIGS / names[0],
                expected=", ".join(sorted(children)) or "nothing below it",
                found=part,
            )
        level = children[part]
    return level


def _expected_kind(before: Any) -> str | None:
    """What may replace `before`, in words; None if anything may."""
    if isinstance(before, bool):
        return "true or false"
    if isinstance(before, int):
        return "a whole number"
    if isinstance(before, float):
        return "a number"
    if isinstance(before, str) and not _is_expression(before):
        return "a text"
    if isinstance(before, list) and before and all(map(_is_number, before)):
        return "three numbers, X, Y, Z" if len(before) == 3 else "a list of numbers"
    return None


def _fits(value: Any, before: Any) -> bool:
    if isinstance(before, list):
        numbers = isinstance(value, list) and bool(value) and all(map(_is_number, value))
        return numbers and (len(before) != 3 or len(value) == 3)
    if isinstance(before, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(before, bool)
    if isinstance(before, float):
        return _is_number(value)
    return isinstance(value, type(before))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(EXPRESSIONS)


def _root_of(error: BaseException) -> BaseException:
    """The BundleError behind what MONAI's config parser raised, or the error itself if there is none."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if isinstance(cause, BundleError):
            return cause
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return error
