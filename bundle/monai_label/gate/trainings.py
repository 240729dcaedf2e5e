"""Trainings, as MONAI Label runs them: what is lacking is said at once, and a killed server's work is not forgotten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import HTTPException
from monailabel.endpoints import train
from monailabel.interfaces.utils.app import app_instance

from bundle.monai_label.names import TRAINED
from bundle.monai_label.training import is_training

LEFT = "left"  # the identifier of what an earlier server left


def start(model: str, params: dict[str, Any] | None = None, enqueue: bool | None = False) -> Any:
    """MONAI Label's, after a check that no training is at work."""
    _check()
    return train.run_model(model, params, False, enqueue)


def start_all(params: dict[str, Any] | None = None) -> Any:
    """MONAI Label's, after a check that no training is at work."""
    _check()
    return train.run(params, False)


def status(all: bool = False, check_if_running: bool = False) -> Any:
    """MONAI Label's; where it knows of no training, what an earlier server left.

    Raises:
        HTTPException: 404, there is nothing.
    """
    try:
        return train.status(all, check_if_running)
    except HTTPException:
        sentence = None if check_if_running else app_instance().training.left_over()
        if sentence is None:
            raise
        now = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        left = {"id": LEFT, "status": "STOPPED", "request": {"model": TRAINED}, "start_ts": now, "details": [sentence]}
        return [left] if all else left


def _check() -> None:
    """Raises BundleError: see `OneShotTraining.check`; another training of this server MONAI Label notices itself."""
    if not is_training():
        app = app_instance()
        app.training.check(app.datastore())
