"""What `--set` can change of a stage: keys, values, and what each means, as docstrings of the code say it."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bundle.config_values import EVALUATED
from bundle.pipeline.configs import BUNDLE_ROOT, CODE, read_configs
from bundle.pipeline.stages import STAGES, profiled_names
from scripts.common.errors import BundleError

OURS = "scripts."
SECTION = re.compile(r"^(\w+):$")
ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*)$")
PLACES = ("_dir", "_root")  # how keys end that say where a run works
RUN_DECIDES = {"case_ids", "cohort", "given", "made_of", "checkpoint", "device", "cache_device", "rank", "accepted"}
RUN_DECIDES |= {"classes", "start_from", "skip_existing", "pattern", "network_name", "check_card"}
PLUMBING = {
    "keys",
    "mode",
    "name",
    "progress",
    "source_key",
    "directory",
    "prob",
    "validation",
}  # of transforms, handlers
WIDEST = 48
OUR_FUNCTIONS = {  # key -> argument of ours that takes it within an expression
    "rule": "scripts.points.denoising.denoising_rule.name",
    "tau": "scripts.points.denoising.denoising_rule.tau",
    "tissue_tolerance": "scripts.points.denoising.denoising_rule.tissue_tolerance",
    "point_cycle_mm": "scripts.points.denoising.denoising_rule.point_cycle_mm",
    "validation_count": "scripts.segmentation.training_items.training_items.validation_count",
    "validation_views": "scripts.embedding.view_pairs.seeded_items.views",
}
MEANINGS = {  # of keys that code of others takes, or an expression
    "feature_search": "whether points are sought where the body looks most like what is around them in the support.",
    "body_map": "whether points go where the body as a whole says, if most of them follow one map of it.",
    "num_workers": "processes that prepare batches beside the training; 0 prepares them in the training's own.",
    "cache_workers": "threads that read and prepare the volumes before the training.",
    "max_epochs": "epochs of the training.",
    "iterations_per_epoch": "batches in an epoch.",
    "volumes_per_batch": "volumes in a batch.",
    "samples_per_epoch": "volumes drawn in an epoch; one may be drawn again.",
    "batch_size": "volumes in a batch; each gives `patches_per_volume` patches.",
    "patches_per_volume": "patches cut from a volume each time it is drawn.",
    "patch_size": "voxels that the network sees at once, along X, Y, Z.",
    "learning_rate": "highest learning rate; it falls from there as the training goes on.",
    "lr_step_epochs": "epochs after which the learning rate falls, again and again.",
    "lr_factor": "factor by which the learning rate falls each time.",
    "val_interval": "epochs between two looks at the cases that are set aside, where there are any.",
    "undecided_value": "value of the voxels of a label map that teach nothing.",
    "crop_to_body": "whether volumes are cropped to the body; if not, those of a training are cropped to their labels.",
    "body_margin_mm": "mm kept around the body where volumes are cropped to it.",
    "crop_margin_divisor": "a patch is cut larger at each end by its side divided by this, so that it can be turned.",
    "rotation_rad": "largest random rotation of a patch about each axis, either way, in radians.",
    "zoom": "largest random change of a patch's size along each axis, either way, as a share.",
    "gain": "largest random relative change of the intensities, either way.",
    "offset": "largest random shift of the intensities, which lie in [0, 1], either way.",
    "gamma": "smallest and largest random exponent of the intensities; None leaves it out.",
    "use_plc": "whether labels are corrected as the training goes on (progressive label correction).",
    "plc_guarded": "whether that correction keeps within bounds, `probability_memory` to `most_shrinkage`.",
    "modality": 'what the network is trained on, "ct" or "mr"; its card says so.',
    "bias_correction": "whether the bias field of MR was divided out for the training; the network's card says so.",
    "keep_probabilities": "whether the network's class probabilities are written, too.",
}


@dataclass(frozen=True)
class Setting:
    """One key of a stage.

    Attributes:
        key: what `--set STAGE.KEY` calls it.
        value: that the config has.
        meaning: in one line.
    """

    key: str
    value: Any
    meaning: str


def list_settings(stage: str, mode: str, small: bool) -> list[Setting]:
    """The settings of a stage, as they stand in its config.

    Raises:
        BundleError: the mode has no such stage.
    """
    if stage not in STAGES[mode]:
        raise BundleError(
            f"mode {mode} has no such stage", stage="settings", expected=", ".join(STAGES[mode]), found=stage
        )
    return settings_of(read_configs(profiled_names(stage, mode, small)))


def settings_of(config: Mapping[str, Any]) -> list[Setting]:
    """The settings of a config: values at its top that anything takes, and arguments of our components beside those."""
    arguments = list(_arguments(config, ""))
    texts = list(_texts(config))
    meanings: dict[str, str] = {}
    for path, target, value in arguments:
        if _is_reference(value) and (meaning := meanings_of(target).get(path.rsplit("#", 1)[-1])):
            meanings.setdefault(value.removeprefix("@"), meaning)
    found = [
        Setting(key, value, meanings.get(key) or _told(key))
        for key, value in config.items()
        if _is_setting(key, value) and any(_refers_to(text, key) for text in texts)
    ]
    names = [path.rsplit("#", 1)[-1] for path, _, _ in arguments]
    for (path, target, value), name in zip(arguments, names, strict=True):
        if target.startswith(OURS) and _is_setting(name, value):
            is_unique = names.count(name) == 1 and name not in config
            found.append(Setting(name if is_unique else path, value, meanings_of(target).get(name, "")))
    return found


def as_lines(stage: str, settings: list[Setting]) -> list[str]:
    """A line each, `STAGE.KEY=VALUE` as `--set` takes it, then what it means."""
    texts = [f"{stage}.{setting.key}={_shown(setting.value)}" for setting in settings]
    width = min(WIDEST, max(map(len, texts), default=0))
    return [f"{text:{width}}  {setting.meaning}".rstrip() for text, setting in zip(texts, settings, strict=True)]


@lru_cache
def meanings_of(target: str) -> Mapping[str, str]:
    """Argument -> what it means, of one of our classes or functions; its module is read and not imported."""
    if not target.startswith(OURS):
        return {}
    *module, name = target.split(".")
    file = BUNDLE_ROOT.joinpath(*module).with_suffix(".py")
    if not file.is_file():
        return {}
    body = ast.parse(file.read_text(encoding="utf-8")).body
    defined = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
    return documented(ast.get_docstring(defined[0], clean=False) or "") if defined else {}


def documented(docstring: str) -> dict[str, str]:
    """Name -> text of the sections Args and Attributes of a docstring, each in one line."""
    meanings: dict[str, str] = {}
    section = ""
    names: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        if header := SECTION.match(line):
            section, names = header[1], []
        elif section in ("Args", "Attributes") and (entry := ENTRY.match(line)):
            names = entry[1].split(", ")
            meanings |= dict.fromkeys(names, entry[2])
        elif line.startswith(" " * 8):
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        else:
            names = []
    return meanings


def _arguments(level: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """(path, `_target_` of the component, value) of every argument of a component."""
    items = level.items() if isinstance(level, Mapping) else enumerate(level) if isinstance(level, list) else ()
    target = level.get("_target_") if isinstance(level, Mapping) else None
    for key, value in items:
        below = f"{path}#{key}".removeprefix("#")
        if path == "" and key in CODE:
            continue
        if target is not None and not str(key).startswith("_"):
            yield below, target, value
        yield from _arguments(value, below)


def _told(key: str) -> str:
    """Of what an expression or code of others takes."""
    target, _, argument = OUR_FUNCTIONS.get(key, "").rpartition(".")
    return meanings_of(target).get(argument, "") or MEANINGS.get(key, "")


def _texts(level: Any) -> Iterator[str]:
    """Everything that may refer to something."""
    if _is_code(level):
        yield level
    for value in level.values() if isinstance(level, Mapping) else level if isinstance(level, list) else ():
        yield from _texts(value)


def _is_setting(key: str, value: Any) -> bool:
    """A value that a user may think about: no component, no place, nothing that the run decides."""
    if key.startswith("_") or key in CODE or key in RUN_DECIDES | PLUMBING or key.endswith(PLACES):
        return False
    return not (isinstance(value, Mapping) or _is_reference(value) or _is_built(value))


def _is_built(value: Any) -> bool:
    """Whether there is more in it than numbers and texts: a component, or an expression that calls something."""
    if isinstance(value, list):
        return any(isinstance(item, Mapping | list) or _is_code(item) for item in value)
    return _is_code(value) and ("(" in value or "." in value)


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and value.startswith((EVALUATED, "@"))


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _refers_to(value: str, name: str) -> bool:
    return re.search(rf"@{re.escape(name)}\b", value) is not None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
