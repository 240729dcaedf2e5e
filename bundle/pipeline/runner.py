"""Runs one stage, if there is anything left of it to do; knows no mode."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.config_values import Component
from bundle.pipeline.configs import CONFIGS, deciding_values, device_override, read_configs, run_config, with_paths
from bundle.pipeline.inference import label_items, network_labels, network_overrides
from bundle.pipeline.plan import CaseByCase, Inference, Stage, Training
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import BASES, config_names
from bundle.pipeline.state import WorkDirectory
from bundle.pipeline.training_folder import TrainingFolder
from scripts.common.case_stage import done_before
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import read_json, remove_file
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import content_mark
from scripts.common.sharing.crew import present_crew
from scripts.data.cohort import Cohort
from scripts.data.gate.modality import CT

logger = logging.getLogger(__name__)

AS_PREPARED = {"cohort": Component({"_target_": "scripts.data.cohort.load_cohort", "output_dir": "@output_dir"})}


class Runner:
    """Runs stages over one cohort.

    Args:
        settings: what the user asked for.
        cohort: the cases.
        directory: the output folder's log.
    """

    def __init__(self, settings: RunSettings, cohort: Cohort, directory: WorkDirectory) -> None:
        self.settings, self.cohort, self.directory = settings, cohort, directory

    def run(self, stage: Stage) -> bool:
        """Run the stage; whether there was anything to do.

        Raises:
            BundleError: another process runs a stage in this folder, or whatever the stage finds wrong.
        """
        if not stage.condition():
            return False
        before = self.directory.state().get(stage.title)
        with blamed(stage.title):
            match stage:
                case Training():
                    done = bool(before and before.get("done"))
                    return self.directory.run(stage.title, lambda: self._train(stage, done))
                case Inference():
                    return self.directory.run(stage.title, lambda: self._label(stage, before))
                case CaseByCase():
                    return self.directory.run(stage.title, lambda: self._run_cases(stage, before))
        raise TypeError(f"{stage.title} is no kind of stage")

    def _train(self, stage: Training, finished_before: bool) -> bool:
        _check_inputs(stage)
        content = content_mark(stage.inputs)
        made_of = {
            "inputs": {**content, **stage.deciding_content()},
            "settings": [self._deciding(stage), dict(stage.values)],
        }
        folder = TrainingFolder(stage.folder, stage.title, made_of, stage.version, whole_inputs=content)
        if not folder.clear(finished_before):
            return False
        folder.start()
        if (crew := present_crew()) is not None:
            crew.rest()
        self._run_config(stage)
        folder.finish()
        return True

    def _label(self, stage: Inference, before: Mapping[str, Any] | None) -> bool:
        network = network_overrides(stage.network)
        labels = network_labels(stage.network, stage.labels.path, stage.with_probabilities, self._deciding(stage))
        inputs = labels.inputs({name: case.sha256 for name, case in self.cohort.cases.items()})
        for folder in (stage.labels.path, stage.labels.own.path):
            _forget_others(folder, self.cohort)
        todo = labels.clear(inputs)
        if not todo:
            return False
        _say_how_it_starts(stage, before)
        items = [{"image": str(self.cohort.cases[case].image), "case": case} for case in todo]
        places = {"output_dir": str(stage.labels.path), "keep_probabilities": stage.with_probabilities}
        # The cohort's images are in Hounsfield or standard units, whatever the card says that they were.
        prepared = {"modality": CT, "check_card": False}
        names, overrides = self._told(stage, network | prepared | places)
        with done_before(len(inputs) - len(items)):
            label_items(run_config, names, overrides, items, inputs)
        return True

    def _run_cases(self, stage: CaseByCase, before: Mapping[str, Any] | None) -> bool:
        """The config knows which cases are left; what it wrote says whether there were any."""
        _say_how_it_starts(stage, before)
        for folder in stage.fills:
            _forget_others(folder, self.cohort)
        earlier = _record_times(stage)
        self._run_config(stage)
        made = [record for record, time in _record_times(stage).items() if earlier.get(record) != time]
        again = len([record for record in made if record in earlier])
        if before and before.get("done") and (lacking := len(made) - again):
            logger.info("%s: %d cases had no record", stage.title, lacking)
        if again:
            cases = "1 case was" if again == 1 else f"{again} cases were"
            reason = "inputs changed or files were damaged"
            logger.warning("%s: %s done again, because %s", stage.title, cases, reason)
        return bool(made)

    def _run_config(self, stage: Stage) -> None:
        run_config(*self._told(stage, {}))

    def _told(self, stage: Stage, more: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """The stage's config files, and its overrides; what is set of one stage is stronger than the run's device."""
        names = self._names(stage)
        config = read_configs(names)
        device = device_override(self.settings.device) if "device" in config else {}
        places = {"output_dir": str(self.directory.path), **(AS_PREPARED if "cohort" in config else {}), **stage.places}
        return names, {**places, **stage.values, **more, **device, **self._chosen(stage)}

    def _deciding(self, stage: Stage) -> Any:
        """Places and devices do not change a result, so they are left out."""
        return [deciding_values(read_configs(self._names(stage))), deciding_values(self._chosen(stage))]

    def _chosen(self, stage: Stage) -> dict[str, Any]:
        """What the user set, but where the stage's own patch has a value; and what nobody can set."""
        asked = with_paths(self._names(stage), self.settings.overrides.get(stage.name, {}))
        patched = [key for patch in self._patches(stage) for key in read_json(CONFIGS / patch)]
        free = {key: value for key, value in asked.items() if not any(_is_below(key, path) for path in patched)}
        return free | with_paths(self._names(stage), stage.changes)

    def _names(self, stage: Stage) -> list[str]:
        return config_names(stage.name, self.settings) + self._patches(stage)

    def _patches(self, stage: Stage) -> list[str]:
        """Of this stage alone, among those of the same config."""
        patches = [f"{stage.title}/{base}" for base in BASES[stage.name]]
        return [patch for patch in patches if (CONFIGS / patch).is_file()]


def _check_inputs(stage: Training) -> None:
    """Refuse to discard a network that cannot be trained again, because what it learns from is gone.

    Raises:
        BundleError: a file or folder is missing.
    """
    for path in stage.inputs.values():
        if isinstance(path, Path) and not path.exists():
            raise BundleError(
                "what the network learns from is missing",
                stage=stage.title,
                file=path,
                expected="what an earlier stage leaves; `oneshot`, or `propagate`, makes it again",
            )


def _is_below(key: str, path: str) -> bool:
    """Whether a config key is, or lies below, the one at `path`."""
    return key == path or key.startswith(f"{path}#")


def _say_how_it_starts(stage: Stage, before: Mapping[str, Any] | None) -> None:
    """Of a stage that was done before, what is done again is said when that is known."""
    if before is None:
        logger.info("%s: starting", stage.title)
    elif not before.get("done"):
        logger.info("%s: continuing", stage.title)


def _record_times(stage: CaseByCase) -> dict[Path, int]:
    """Record -> when it was written."""
    return {record: record.stat().st_mtime_ns for folder in stage.fills for record in folder.glob("*.json")}


def _forget_others(folder: Path, cohort: Cohort) -> None:
    """Remove results of cases that are in the cohort no more, as far as records of ours say which files those are."""
    for record in folder.glob("*.json"):
        if record.stem in cohort.cases:
            continue
        try:
            content = read_json(record)
            files = [folder / Path(name).name for name in content["files"] if content["inputs"]]
        except (BundleError, KeyError, TypeError):
            continue
        set_aside_changed(record)
        for file in (*files, record):
            remove_file(file)
        logger.info("%s: %s is in the cohort no more, and its files were removed", folder, record.stem)
