"""The folder of a trained network, and the record in it that decides if training goes on, starts anew or is done."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.config_values import Expression
from bundle.pipeline.configs import key_path, read_configs, value_at, with_paths
from bundle.pipeline.plan import Training
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names
from scripts.common.errors import BundleError
from scripts.common.files import read_json, remove_file, remove_tree
from scripts.common.made_of import damaged_files, fingerprint, write_record
from scripts.data.cohort import Cohort
from scripts.data.gate.modality import MR

logger = logging.getLogger(__name__)

RECORD, INPUTS, VERSION = "made_of.json", "inputs", "version"
NETWORK = ("model.pt", "model.json")
CURVES = ("curve.csv", "flips.json")
COMPARED = (".spacing_mm", ".patch_size")  # with what given weights were trained with
OURS = {RECORD, *NETWORK, *CURVES, "checkpoints", "tensorboard", "labels"}


@dataclass(frozen=True)
class TrainingFolder:
    """What a training leaves, and what it depends on.

    Attributes:
        path: the folder.
        title: of the stage, for messages.
        made_of: "inputs" and "settings" -> everything that the network depends on, JSON-serialisable.
        version: see `Training`.
        whole_inputs: the inputs with what of them is only told, as they were noted before; None where that is nothing.
    """

    path: Path
    title: str
    made_of: Mapping[str, Any]
    version: int = 1
    whole_inputs: Any = None

    def clear(self, finished_before: bool) -> bool:
        """Remove what cannot stay, and say why; whether there is anything left to train.

        Args:
            finished_before: the log says that this was done once.

        Raises:
            BundleError: what cannot stay holds something that no training left.
        """
        remove_tree(self._leaving)
        record = self._record()
        if record is None:
            self._say_how_it_starts(finished_before)
            return True
        marks = self._fingerprints()
        noted_whole = self.made_of[INPUTS] != self.whole_inputs and record.get(INPUTS) == fingerprint(self.whole_inputs)
        known = record | {INPUTS: marks[INPUTS]} if noted_whole else record
        if changed := [name for name in (*self.made_of, VERSION) if known.get(name) != marks.get(name)]:
            words = " and ".join(changed)
            logger.warning("%s: its %s changed since the last run, so it is done again", self.title, words)
            self._discard()
            return True
        if not record.get("done"):
            logger.info("%s: continuing", self.title)
            return True
        damaged = damaged_files(self.path / RECORD)
        if damaged:
            self._remove(damaged)
        elif noted_whole:
            self.finish()
        return bool(damaged)

    def start(self) -> None:
        """Note what the training depends on, before it leaves anything."""
        self._write(done=False, files=[])

    def finish(self) -> None:
        """Note what it left."""
        files = [self.path / name for name in (*NETWORK, *CURVES)]
        self._write(done=True, files=[file for file in files if file.exists()])

    @property
    def _leaving(self) -> Path:
        return self.path.with_name(f".discarded-{self.path.name}")

    def _record(self) -> dict[str, Any] | None:
        file = self.path / RECORD
        if not file.exists():
            return None
        try:
            content = read_json(file)
            damaged_files(file)
        except (BundleError, KeyError, TypeError, ValueError):
            logger.warning("%s is damaged; training goes on from the checkpoints that are there", file)
            return None
        return dict(content)

    def _say_how_it_starts(self, finished_before: bool) -> None:
        """Without a record: nothing was trained here, or by another command, whose checkpoints know what they fit."""
        if self.path.exists():
            logger.info("%s: continuing from what is there", self.title)
        elif finished_before:
            logger.warning("%s: its results are gone, so it is done again", self.title)
        else:
            logger.info("%s: starting", self.title)

    def _remove(self, damaged: list[str]) -> None:
        """The last checkpoint knows the network, but not its curves."""
        words = ", ".join(damaged)
        if set(damaged) <= set(NETWORK):
            logger.warning("%s: missing or damaged: %s; made again from the last checkpoint", self.title, words)
            for name in NETWORK:
                remove_file(self.path / name)
        else:
            logger.warning("%s: missing or damaged: %s; trained again", self.title, words)
            self._discard()

    def _discard(self) -> None:
        """Away at once and then deleted: a kill in between leaves nothing that looks like a result."""
        foreign = sorted(path.name for path in self.path.iterdir() if path.name not in OURS and path.name[0] != ".")
        if foreign:
            raise BundleError(
                "the network must be trained again, but its folder holds something that no training left",
                stage=self.title,
                file=self.path / foreign[0],
                expected="this moved elsewhere: the folder is removed before the new training",
                found=", ".join(foreign),
            )
        self.path.rename(self._leaving)
        remove_tree(self._leaving)

    def _fingerprints(self) -> dict[str, str]:
        marks = {name: fingerprint(value) for name, value in self.made_of.items()}
        return marks if self.version == 1 else {**marks, VERSION: fingerprint(self.version)}

    def _write(self, done: bool, files: list[Path]) -> None:
        marks = self._fingerprints()
        write_record(self.path / RECORD, {"done": done, **marks}, marks[INPUTS], files)


def unsupervised_training(stage: str, folder: Path, settings: RunSettings, cohort: Cohort) -> Training:
    """The training of one network, some of the volumes left out for validation; no stage where weights were given."""
    count = _validation_count(stage, settings, cohort)
    return Training(
        stage,
        values={"validation_count": count},
        inputs={"images": image_hashes(cohort), "split": cohort.split(count)},
        folder=folder,
        condition=lambda: settings.weights is None,
    )


def image_hashes(cohort: Cohort) -> dict[str, str]:
    """Case -> fingerprint of its image."""
    return {name: case.sha256 for name, case in cohort.cases.items()}


def configured_spacing_mm(stage: str, settings: RunSettings) -> list[float]:
    """Of the network that the stage trains."""
    spacing_mm: list[float] = configured(stage, settings, "spacing_mm")
    return spacing_mm


def configured_bias_correction(stage: str, settings: RunSettings) -> bool:
    """Whether the network that the stage trains sees MR without its bias field."""
    return bool(configured(stage, settings, "bias_correction"))


def configured(stage: str, settings: RunSettings, key: str) -> Any:
    """A plain value of a stage's config as a run of these settings has it, by whichever path `--set` names it.

    Raises:
        BundleError: it is an expression.
    """
    names = config_names(stage, settings)
    config = read_configs(names)
    path = key_path(config, key)
    chosen = with_paths(names, settings.overrides.get(stage, {})).get(path)
    if chosen is None:
        return value_at(config, path, key, None)
    return _plain(stage, key, chosen)


def modality_values(cohort: Cohort) -> dict[str, Any]:
    """What the card of a segmentation network says of its modality; nothing of CT, as the config says it."""
    return {"modality": cohort.modality, "bias_correction": cohort.bias_correction} if cohort.modality == MR else {}


def chosen_value(stage: str, settings: RunSettings, key: str) -> Any:
    """What `--set` says of a value that must be known before the stage runs; None if it says nothing.

    Raises:
        BundleError: it is an expression.
    """
    return _plain(stage, key, settings.overrides.get(stage, {}).get(key))


def say_unused(stages: Iterable[str], settings: RunSettings) -> None:
    """Warn of what the settings say of trainings that given weights replace, but for what these were compared with."""
    unused = [f"--set {stage}.{key}" for stage in stages for key in settings.overrides.get(stage, {})]
    unused = [option for option in unused if not option.endswith(COMPARED)]
    if settings.all_pairs:
        unused.append("--all-pairs")
    for option in unused:
        logger.warning("%s is of no use: the network is given (--weights) and not trained", option)


def _plain(stage: str, key: str, value: Any) -> Any:
    if isinstance(value, Expression):
        raise BundleError(
            f"the config key {key!r} takes no expression",
            stage="settings",
            expected="a value: it is needed before the stage runs",
            found=f"{stage}.{key}={value}",
        )
    return value


def _validation_count(stage: str, settings: RunSettings, cohort: Cohort) -> int:
    """As configured; but where nobody asked for it, no more than a quarter of the cases."""
    chosen = chosen_value(stage, settings, "validation_count")
    if chosen is not None:
        return int(chosen)
    return min(int(read_configs(config_names(stage, settings))["validation_count"]), len(cohort.cases) // 4)
