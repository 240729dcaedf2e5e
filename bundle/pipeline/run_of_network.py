"""What a run set for its own label maps goes with its network: `infer` and packages label as the run did."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from bundle.pipeline.aliases import current_overrides
from bundle.pipeline.configs import MACHINE, with_paths
from bundle.pipeline.settings import holds_expression, saved_settings
from scripts.common.work_folder import WorkFolder
from scripts.networks.segmenter import CARD

logger = logging.getLogger(__name__)

CONFIG = "inference.json"
STAGE = "inference"
NOT_OF_THE_NETWORK = {*CARD, *MACHINE, "keep_probabilities", "checkpoint"}  # the card says it, or whoever labels


def settings_of_run(model: Path) -> dict[str, Any]:
    """Full path in `inference.json` -> value, as the run set it that trained a network; nothing if no run is beside it.

    An expression is not taken from a file, and told.

    Args:
        model: folder of the network, `OUTPUT/segmentation` of its run.

    Raises:
        BundleError: the run's settings are damaged, or set a key that the config does not have.
    """
    work = WorkFolder(model.absolute().parent)
    if model.absolute() != work.segmentation:
        return {}
    saved = current_overrides(saved_settings(work.path).get("overrides", {})).get(STAGE, {})
    said = {key: value for key, value in with_paths([CONFIG], saved).items() if key not in NOT_OF_THE_NETWORK}
    values = {key: value for key, value in said.items() if not holds_expression(value)}
    if left_out := [f"{STAGE}.{key}" for key in said if key not in values]:
        logger.warning("%s: an expression is not taken from %s", ", ".join(left_out), work.settings)
    return values
