"""What a work directory has finished: `state.json`, and running a stage only when something it depends on changed."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_settings, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: key in `state.json`.
        action: does the work; run again after a kill, it continues.
        config: JSON-serialisable settings of the stage.
        inputs: JSON-serialisable fingerprints of what it reads, besides the stages in `after`.
        after: names of the stages whose results it reads.
        folder: its results, removed when settings or inputs changed; None if the action keeps track of single cases.
    """

    name: str
    action: Callable[[], None]
    config: Any
    inputs: Any
    after: Sequence[str] = ()
    folder: Path | None = None


class WorkDirectory:
    """Keeps `state.json` of one output folder.

    Args:
        path: the output folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._file = self.path / "state.json"

    def state(self) -> dict[str, dict[str, Any]]:
        """Stage name -> {"inputs", "config", "done", "seconds", "peak_memory_mb"}; empty when nothing was run."""
        if not self._file.exists():
            return {}
        try:
            content = read_json(self._file)
        except BundleError as error:
            return self._damaged(error)
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            return self._damaged("not a table of stages")
        return content

    def run(self, stage: Stage) -> bool:
        """Run the stage unless it is done with the same settings and inputs; returns whether it ran.

        Raises:
            BundleError: another process runs a stage in this folder.
        """
        with self._alone(stage.name):
            return self._run(stage)

    def _run(self, stage: Stage) -> bool:
        entry = {"inputs": self._inputs(stage), "config": sha256_of_settings(stage.config)}
        before = self.state().get(stage.name)
        seconds_before = 0.0
        if before is None:
            logger.info("%s: starting", stage.name)
        elif changed := [what for what in ("inputs", "config") if before.get(what) != entry[what]]:
            self._discard(stage, changed)
        elif not before.get("done"):
            logger.info("%s: continuing", stage.name)
            seconds_before = before.get("seconds", 0.0)
        elif stage.folder is None or stage.folder.exists():
            logger.info("%s: done before", stage.name)
            return False
        else:
            logger.warning("%s: its results are gone, so it is done again", stage.name)
        self._record(stage.name, entry | {"done": False, "seconds": seconds_before})
        start = time.monotonic()
        peak_mb = _with_peak_memory(stage.action)
        seconds = round(seconds_before + time.monotonic() - start, 1)
        self._record(stage.name, entry | {"done": True, "seconds": seconds, "peak_memory_mb": peak_mb})
        logger.info("%s: finished in %.0f s", stage.name, seconds)
        return True

    @contextmanager
    def _alone(self, stage: str) -> Iterator[None]:
        """Hold a lock on the folder itself; it goes with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            self._lock(folder, stage)
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int, stage: str) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleError(
                "another run works in this folder",
                stage=stage,
                file=self.path,
                expected="one run at a time: wait for the other, or stop it",
            ) from error

    def _inputs(self, stage: Stage) -> str:
        """Fingerprint of the stage's own inputs and, through the chain, of everything before it."""
        state = self.state()
        chain = [[name, state.get(name, {}).get("inputs"), state.get(name, {}).get("config")] for name in stage.after]
        return sha256_of_settings([stage.inputs, chain])

    def _discard(self, stage: Stage, changed: list[str]) -> None:
        words = {"inputs": "inputs", "config": "settings"}
        what = " and ".join(words[name] for name in changed)
        logger.warning("%s: its %s changed since the last run, so it is done again", stage.name, what)
        if stage.folder is not None and stage.folder.exists():
            # Away at once and then deleted: a kill in between leaves nothing that looks like a result.
            leaving = stage.folder.with_name(f".discarded-{stage.folder.name}")
            shutil.rmtree(leaving, ignore_errors=True)
            stage.folder.rename(leaving)
            shutil.rmtree(leaving)

    def _damaged(self, found: object) -> dict[str, dict[str, Any]]:
        logger.warning("%s is damaged (%s): every stage continues from the files it finds", self._file, found)
        return {}

    def _record(self, name: str, entry: dict[str, Any]) -> None:
        write_json(self._file, self.state() | {name: entry})


def _with_peak_memory(action: Callable[[], None]) -> float:
    """Run `action`; peak resident memory in MB during it (of the whole process, where the system cannot reset it)."""
    gc.collect()
    reset = Path("/proc/self/clear_refs")
    try:
        reset.write_text("5")
        status = Path("/proc/self/status")
    except OSError:
        status = None
    action()
    if status is not None:
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
