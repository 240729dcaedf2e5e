"""Run one bundle config in this process, as `python -m monai.bundle run` would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from bundle.config_values import EVALUATED, Expression, as_config, last_of_each
from bundle.memory_remedies import MEMORY_REMEDIES
from scripts.common.case_stage import CaseStage, CaseWork
from scripts.common.errors import BundleError
from scripts.common.failures import MEMORY_REMEDY, blamed
from scripts.common.names import likely_names, some_of
from scripts.common.sharing.crew import present_crew

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
CONFIGS = BUNDLE_ROOT / "configs"
STEPS = ("initialize", "run", "finalize")  # of a workflow: what it does, not with which values
OUR_MODULES = re.compile(r"\bscripts(?:\.\w+)*\.(?=\w)")
CASE_STAGE = "stage"  # what a config calls the component that works case by case
CODE = ("imports", *STEPS)
EXPRESSIONS = (EVALUATED, "@")  # how strings of our configs begin that MONAI evaluates or looks up
SWITCH = "_disabled_"  # every component has it, said or not
MOST_KEYS = 8  # that a message names
MACHINE = ("device", "cache_device", "cache_workers")  # where and how fast a result is made


class UnknownKeyError(BundleError):
    """A config has no such key: `key` is what the user called it, `part` what of it is not there."""

    def __init__(self, key: str, file: Path | None, expected: str, part: str) -> None:
        super().__init__(f"unknown config key {key!r}", stage="settings", file=file, expected=expected, found=part)
        self.key = key


def run_config(names: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Run `configs/NAME` files, later ones patching earlier ones, with `overrides` on top.

    Cases of a `CaseStage` are made by the crew of the moment, if there is one.

    Args:
        names: of files, relative to `configs/`.
        overrides: key, as `key_path` takes it, -> value; see `encoded`.

    Raises:
        BundleError: an override that the config does not have, or whatever a component found wrong.
    """
    values = encoded(names, overrides)
    workflow = _workflow(names, values)
    with _blamed(names):
        workflow.initialize()
        if present_crew() is not None and (stage := _case_stage(workflow)) is not None:
            stage.job = StageJob(tuple(names), values)
        workflow.run()
        workflow.finalize()


@dataclass(frozen=True)
class StageJob:
    """The cases of a config's `CaseStage`, in a worker.

    Attributes:
        names: see `run_config`.
        values: overrides, `encoded`.
    """

    names: tuple[str, ...]
    values: Mapping[str, Any]

    def start(self) -> Callable[[CaseWork], Any]:
        """The stage, ready to make its cases."""
        workflow = _workflow(self.names, self.values)
        with _blamed(self.names):
            workflow.initialize()
            stage = _case_stage(workflow)
            if stage is None:
                raise TypeError(f"{self.names} work on no cases")
            stage.prepare()
        return partial(self._work, stage)

    def _work(self, stage: CaseStage, work: CaseWork) -> Any:
        with _blamed(self.names):
            return stage.do(work)


def _workflow(names: Sequence[str], values: Mapping[str, Any]) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in names],
        logging_file=False,
        workflow_type=None,
        bundle_root=str(BUNDLE_ROOT),
        **values,
    )


def _case_stage(workflow: ConfigWorkflow) -> CaseStage | None:
    """The one that a config runs, if it runs one."""
    stage = workflow.parser.get_parsed_content(CASE_STAGE) if CASE_STAGE in workflow.parser else None
    return stage if isinstance(stage, CaseStage) else None


def _blamed(names: Sequence[str]) -> AbstractContextManager[None]:
    base = Path([name for name in names if "/" not in name][-1]).stem
    return blamed(base, memory_remedy=MEMORY_REMEDIES.get(base, MEMORY_REMEDY))


def read_configs(names: Sequence[str]) -> dict[str, Any]:
    """The content of `configs/NAME` files, later ones patching earlier ones as MONAI does it.

    A patch's key may be a path, `a#b`; `+a` extends what is there.
    """
    content: dict[str, Any] = ConfigParser.load_config_files([str(CONFIGS / name) for name in names])
    return content


def key_path(config: Mapping[str, Any], key: str, file: Path | None = None) -> str:
    """Full path of a key, `a#b#c`.

    Args:
        config: see `read_configs`.
        key: at the top level; or the argument of a component, if only one has it; or either of them and what lies
            below; or a full path. What refers to another key (`@other`) is no such argument: that key is the place.
        file: for the message.

    Raises:
        BundleError: no such key, or several: the message names their paths.
    """
    first, *below = key.replace("::", "#").split("#")
    paths = [first] if first in config else _arguments(config).get(first, [first])
    if len(paths) > 1:
        raise BundleError(
            f"several components have the config key {key!r}",
            stage="settings",
            file=file,
            expected=" or ".join("#".join([path, *below]) for path in paths),
            found=key,
        )
    path = "#".join([*paths, *below])
    value_at(config, path, key, file)
    return path


def with_paths(names: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of `configs/NAME` files by their full paths; the last one of a path counts.

    Raises:
        BundleError: a key that is not in the config, or that several components have.
    """
    config = read_configs(names)
    return last_of_each((key_path(config, key, CONFIGS / names[0]), value) for key, value in overrides.items())


def encoded(names: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by their full paths as MONAI must be told them: data, but for what is marked (see `as_config`).

    Raises:
        BundleError: see `with_paths`; or data where a config holds code.
    """
    values = with_paths(names, overrides)
    for path, value in values.items():
        refuse_code(path, value, CONFIGS / names[0])
    return {path: as_config(value) for path, value in values.items()}


def refuse_code(path: str, value: Any, file: Path) -> None:
    """Refuse data in a place whose content is code: what a run does, and a component's class.

    Raises:
        BundleError: `value` is no `Expression` and `path` such a place.
    """
    first, *below = path.split("#")
    if isinstance(value, Expression) or not (
        first in CODE or any(part.startswith("_") and part != SWITCH for part in below)
    ):
        return
    raise BundleError(
        "this config key holds code and takes no data",
        stage="settings",
        file=file,
        expected=f"an expression, {EVALUATED}..., on the command line",
        found=path,
    )


def value_at(config: Mapping[str, Any], path: str, key: str, file: Path | None) -> Any:
    """The value at a full path; `key` is what the user called it.

    Raises:
        UnknownKeyError: no such path.
    """
    level: Any = config
    for depth, part in enumerate(path.split("#")):
        children = _children(level)
        if "_target_" in children:
            children.setdefault(SWITCH, False)
        if part not in children:
            names = {*children, *_arguments(config)} - {*CODE} if depth == 0 else children
            known = sorted(name for name in names if not name.startswith("_"))
            likely = some_of(known, MOST_KEYS) if isinstance(level, list) else likely_names(part, known, MOST_KEYS)
            raise UnknownKeyError(key, file, likely or "nothing below it", part)
        level = children[part]
    return level


def deciding_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a result depends on, for fingerprints: the values of a config, or of overrides, `@key` looked up.

    Names of code are left out: a module may move and a class be renamed without any result being made again. So is
    where a run works: devices, and folders as the config itself derives them. A folder that someone names, or none,
    decides what is read, so it stays; so does the number of worker processes, which draw random numbers of their own.
    """
    return {
        key: _resolved(value, config, ())
        for key, value in config.items()
        if key not in CODE and not _is_place(key, value)
    }


def _is_place(key: str, value: Any) -> bool:
    """Whether a key says where a run works and not what comes out of it."""
    name = key.rsplit("#", 1)[-1]
    if name in MACHINE or name == "bundle_root":
        return True
    return (name == "checkpoint" or name.endswith("_dir")) and is_expression(value)


def _resolved(value: Any, config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(item, config, path) for key, item in value.items() if key != "_target_"}
    if isinstance(value, list):
        return [_resolved(item, config, path) for item in value]
    if not isinstance(value, str):
        return value
    name = value.removeprefix("@")
    refers = name != value and name in config and name not in path
    if refers and not isinstance(config[name], Mapping) and not _is_place(name, config[name]):
        return _resolved(config[name], config, (*path, name))
    return OUR_MODULES.sub("", value) if value.startswith("$") else value


def read_component(names: Sequence[str], key: str) -> Any:
    """One component or value of `configs/NAME` files, later ones patching earlier ones, as a run would build it.

    Raises:
        BundleError: see `key_path`.
    """
    config = read_configs(names)
    return ConfigParser(config).get_parsed_content(key_path(config, key, CONFIGS / names[0]))


def is_expression(value: Any) -> bool:
    """Whether MONAI evaluates this value of one of our configs, or looks it up."""
    return isinstance(value, str) and value.startswith(EXPRESSIONS)


def device_override(device: str | None) -> dict[str, Expression]:
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
    return {"device": Expression(f"$torch.device({device!r})")}


def _arguments(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Argument of a component -> its full paths; references and what a workflow does are left out."""
    paths: dict[str, list[str]] = {}
    for key, value in config.items():
        if key not in CODE:
            for name, path in _arguments_below(value, key):
                paths.setdefault(name, []).append(path)
    return paths


def _arguments_below(level: Any, path: str) -> Iterator[tuple[str, str]]:
    for key, value in _children(level).items():
        if key.startswith("_"):  # of a component: its class, whether it is made at all
            continue
        below = f"{path}#{key}"
        if isinstance(level, dict) and "_target_" in level and not _is_reference(value):
            yield key, below
        yield from _arguments_below(value, below)


def _children(level: Any) -> dict[str, Any]:
    """What lies below a level, by name or number."""
    items = enumerate(level) if isinstance(level, list) else level.items() if isinstance(level, dict) else ()
    return {str(key): value for key, value in items}


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("@")
