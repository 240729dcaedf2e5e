"""Checkpoints that survive a kill at any moment, and resuming from the newest whole one."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError, in_short
from scripts.common.files import LONGEST_REASON, atomic_path, load_tensors
from scripts.training.settings_history import history_of, take_history
from scripts.training.training_data import data_changes, data_marks

logger = logging.getLogger(__name__)

_NAME = re.compile(r"epoch_(\d+)\.pt")


class ResumableCheckpoint:
    """Ignite handler: resume from the newest whole checkpoint, then save one every `save_interval` epochs.

    A damaged checkpoint is skipped with a warning and the one before it is used. Checkpoints are flat in the sense of
    `torch.load(weights_only=True)`: state dicts of tensors and plain numbers. In a distributed run every process loads
    them and rank 0 alone writes them. A checkpoint of another schedule of the learning rate is another training's. One
    of other images, label maps or noted settings (`settings_history`) is gone on from with a warning.

    Args:
        directory: where `epoch_NNNN.pt` files live.
        objects: name -> object with `state_dict` and `load_state_dict` (network, optimizer, schedule).
        save_interval: epochs between two checkpoints; the last epoch is always saved.
        keep: how many of the newest checkpoints stay on disk.
        settings: what a training must have in common with its checkpoint to go on from it (JSON-serialisable); None
            trusts that the objects' shapes tell.
    """

    def __init__(
        self,
        directory: str | Path,
        objects: dict[str, Any],
        save_interval: int = 1,
        keep: int = 2,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.objects = objects
        self.save_interval = save_interval
        self.keep = keep
        self.settings = None if settings is None else json.dumps(dict(settings))
        self._data: str | None = None

    def attach(self, engine: Engine) -> None:
        """Register on the training engine, as its last handler: what the others change in an epoch is then saved."""
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def resume(self, engine: Engine) -> None:
        """Load the newest checkpoint that is whole; leave everything untouched when there is none.

        Raises:
            BundleError: the checkpoint does not fit the settings or the objects, so it is another training's.
        """
        marks = None if rank_and_world()[0] else data_marks(engine)
        self._data = None if marks is None else json.dumps(marks)
        for path in reversed(checkpoint_files(self.directory)):
            content = self._read(path)
            if content is None:
                continue
            self._restore(path, content)
            if engine.state.max_epochs is not None and content["epoch"] > engine.state.max_epochs:
                raise self._misfit(path, f"epoch {content['epoch']} of at most {engine.state.max_epochs}")
            engine.state.epoch = content["epoch"]
            # Of more processes or larger batches an epoch has fewer iterations: by those of before, ignite would end.
            length = engine.state.epoch_length
            engine.state.iteration = content["epoch"] * length if length else content["iteration"]
            logger.info("resuming from %s after epoch %d", path, content["epoch"])
            self._say_what_changed(content.get("data"))
            others = take_history(engine, content.get("history"))
            if others and content["epoch"] != engine.state.max_epochs:
                words = "from epoch %d on the training goes on with other settings, which its card will say: %s"
                logger.warning(words, content["epoch"] + 1, ", ".join(others))
            if content["epoch"] == engine.state.max_epochs:
                words = "that was the last epoch, so nothing is trained; to train anew, on other data, delete %s"
                logger.warning(words, self.directory)
            return

    def save(self, engine: Engine) -> None:
        """Save after an epoch, if its turn has come, and remove checkpoints beyond `keep`."""
        epoch = engine.state.epoch
        rank, _ = rank_and_world()
        if rank > 0 or (epoch % self.save_interval and epoch != engine.state.max_epochs):
            return
        content = {name: target.state_dict() for name, target in self.objects.items()}
        content |= {"epoch": epoch, "iteration": engine.state.iteration, "settings": self.settings, "data": self._data}
        content["history"] = history_of(engine)
        with atomic_path(self.directory / f"epoch_{epoch:04d}.pt") as temporary, temporary.open("wb") as file:
            torch.save(content, file)
        for path in checkpoint_files(self.directory)[: -self.keep]:
            path.unlink(missing_ok=True)

    def _restore(self, path: Path, content: dict[str, Any]) -> None:
        if self.settings is not None and content.get("settings") is not None:
            ours, theirs = json.loads(self.settings), json.loads(content["settings"])
            changed = [f"{key} {theirs.get(key)}, now {ours[key]}" for key in ours if ours[key] != theirs.get(key)]
            if changed:
                raise self._misfit(path, "; ".join(changed))
        for name, target in self.objects.items():
            try:
                changed = _changed_constants(target, content[name])
                target.load_state_dict(content[name])
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise self._misfit(path, f"{name}: {in_short(error, LONGEST_REASON)}") from error
            if changed:
                raise self._misfit(path, f"{name}: {'; '.join(changed)}")

    def _say_what_changed(self, before: str | None) -> None:
        """Checkpoints of earlier versions do not say what they were trained on."""
        if before is None or self._data is None:
            return
        if changes := data_changes(json.loads(before), json.loads(self._data)):
            words = "the checkpoints are of other data: %s; to train anew on those of now, delete %s"
            logger.warning(words, "; ".join(changes), self.directory)

    def _misfit(self, path: Path, found: str) -> BundleError:
        return BundleError(
            "the checkpoint is of another network or other settings",
            stage="training",
            file=path,
            expected=f"a checkpoint of this training; to start anew, delete {self.directory}",
            found=found,
        )

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            content = load_tensors(path)
            missing = {*self.objects, "epoch", "iteration"} - set(content)
        except Exception as error:  # torch.load raises many types for a damaged file
            logger.warning("checkpoint %s is damaged (%s); using the one before it", path, error)
            return None
        if missing:
            logger.warning("checkpoint %s lacks %s; using the one before it", path, sorted(missing))
            return None
        return content


def _changed_constants(target: Any, saved: Any) -> list[str]:
    """What a schedule of the learning rate was made with and a saved one was not; loading would put the saved one's in
    its place. A training that was to go on for longer would go on at a rate of 0.
    """
    if not isinstance(target, LRScheduler):
        return []
    ours, theirs = target.state_dict(), dict(saved)
    constant = ({*inspect.signature(type(target)).parameters} | {"base_lrs"}) - {"last_epoch"}
    shared = [key for key in ours if key in constant and key in theirs]
    return [f"{key} {theirs[key]}, now {ours[key]}" for key in shared if ours[key] != theirs[key]]


def checkpoint_files(directory: Path) -> list[Path]:
    """Checkpoints in `directory`, oldest first."""
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.glob("epoch_*.pt"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in matches if match)]
