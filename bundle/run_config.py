"""Run one bundle config in this process, as `python -m monai.bundle run` would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from scripts.errors import BundleError

BUNDLE_ROOT = Path(__file__).resolve().parent.parent
CONFIGS = BUNDLE_ROOT / "configs"


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
        raise _root_of(error) from error


def read_configs(names: Sequence[str]) -> dict[str, Any]:
    """Top-level keys of `configs/NAME` files, later ones patching earlier ones."""
    merged: dict[str, Any] = {}
    for name in names:
        merged |= json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    return merged


def check_keys(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that would silently do nothing.

    Raises:
        BundleError: a key that is not in the config.
    """
    config = read_configs(names)
    for key in overrides:
        level: Any = config
        for part in key.replace("::", "#").split("#"):
            if not isinstance(level, dict) or part not in level:
                raise BundleError(
                    f"unknown config key {key!r}",
                    stage="settings",
                    file=CONFIGS / names[0],
                    expected=", ".join(sorted(config)),
                    found=key,
                )
            level = level[part]


def _root_of(error: BaseException) -> BaseException:
    """The BundleError behind what MONAI's config parser raised, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BundleError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
