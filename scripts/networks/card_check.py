"""A config and the network that it loads: whether they speak of the same voxels, intensities and classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from scripts.common.errors import BundleError
from scripts.networks.loading import checked_card
from scripts.networks.segmenter import WEIGHTS


class CardCheck:
    """Handler: refuses a network whose card says something else than the config, before any volume is read.

    Its weights would load all the same, and label maps would be wrong without a word. Weights without a card beside
    them are taken as they are.

    Args:
        checkpoint: `model.pt`, with `model.json` beside it.
        config: key -> what the config says of the network.
    """

    def __init__(self, checkpoint: str | Path, config: Mapping[str, Any]) -> None:
        self.file, self.config = Path(checkpoint).with_name("model.json"), dict(config)

    def attach(self, engine: Engine) -> None:
        """Called when the evaluator is made.

        Raises:
            BundleError: a damaged card, or one of another network than the config's.
        """
        if not self.file.is_file():
            return
        card = checked_card(self.file, WEIGHTS, {})
        said = json.loads(json.dumps(self.config))
        other = [key for key in said if key in card and _in_order(card[key]) != _in_order(said[key])]
        if other:
            raise BundleError(
                "the config is not that of the network",
                stage="inference",
                file=self.file,
                expected=" ".join(f"--{key} '{json.dumps(card[key])}'" for key in other),
                found=", ".join(f"{key} {json.dumps(said[key])}" for key in other),
            )


def _in_order(value: Any) -> Any:
    """Of a table its items in their order, which is that of the channels; other values as they are."""
    return list(value.items()) if isinstance(value, Mapping) else value
