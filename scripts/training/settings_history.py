"""Which settings a training ran with, and until which epoch: a training that goes on with others says so in its card.

For settings that may change between two runs; those that may not are refused by `ResumableCheckpoint`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine

EARLIER = "earlier_settings"
UNTIL = "until_epoch"

Settings = dict[str, Any]
History = list[tuple[int, Settings]]  # last epoch, and what it and those before it ran with


def note_settings(engine: Engine, settings: Mapping[str, Any]) -> None:
    """Before a training runs: what else it runs with (JSON-serialisable)."""
    state: Any = engine.state
    before, state.settings_history = _noted(engine)
    state.noted_settings = before | json.loads(json.dumps(dict(settings)))


def card_of(engine: Engine) -> Settings:
    """After it ran: what was noted; and, where other settings held in its first epochs, which ones until when."""
    now, history = _noted(engine)
    earlier = [{UNTIL: epoch, **_others(before, now)} for epoch, before in history]
    return {**now, EARLIER: earlier} if earlier else now


def history_of(engine: Engine) -> str | None:
    """For a checkpoint of this epoch; None where nothing was noted."""
    now, history = _noted(engine)
    return json.dumps([*history, (engine.state.epoch, now)]) if now else None


def take_history(engine: Engine, saved: str | None) -> list[str]:
    """Take over that of a checkpoint.

    Args:
        engine: of the training that goes on from it.
        saved: see `history_of`; checkpoints of earlier versions have none.

    Returns:
        Names of settings that are others from now on.
    """
    now, _ = _noted(engine)
    if saved is None or not now:
        return []
    history: History = [(int(epoch), dict(settings)) for epoch, settings in json.loads(saved)]
    state: Any = engine.state
    state.settings_history = history[:-1] if history[-1][1] == now else history
    return sorted(_others(history[-1][1], now))


def _noted(engine: Engine) -> tuple[Settings, History]:
    state: Any = engine.state
    return dict(getattr(state, "noted_settings", {})), list(getattr(state, "settings_history", []))


def _others(settings: Settings, than: Settings) -> Settings:
    """Those that are others than `than` says; None for what it alone has."""
    return {key: settings.get(key) for key in {**settings, **than} if settings.get(key) != than.get(key)}
