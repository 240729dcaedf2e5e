"""The network of the last training, as a model of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.bundle import BundleInferTask


class TrainedNetwork(InferTask):
    """The network of the last training; there is none before the first.

    Args:
        folder: the bundle that training leaves.
        conf: the app's settings.
    """

    def __init__(self, folder: Path, conf: dict[str, str]) -> None:
        super().__init__(InferType.SEGMENTATION, [], 3, "The network that was trained on this server's studies")
        self.folder, self.conf = folder, conf
        self._loaded: tuple[int, BundleInferTask] | None = None

    def _task(self) -> BundleInferTask | None:
        card = self.folder / "models" / "model.json"
        if not card.exists():
            return None
        changed = card.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != changed:
            self._loaded = (changed, BundleInferTask(str(self.folder), self.conf, type=InferType.SEGMENTATION))
        return self._loaded[1]

    def is_valid(self) -> bool:
        """Whether anything was trained."""
        return self._task() is not None

    def info(self) -> dict[str, Any]:
        """Of the network of the last training."""
        task = self._task()
        return super().info() if task is None else task.info()

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Segment one study.

        Raises:
            HTTPException: nothing was trained yet.
        """
        task = self._task()
        if task is None:
            raise HTTPException(400, "there is no trained network yet: press Train")
        return task(request)
