"""Names of version 0.3.0 that still work, for one version, with one sentence of warning each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bundle.config_values import last_of_each
from scripts.common.errors import BundleError

logger = logging.getLogger(__name__)

# Old name of a stage -> its name.
STAGES = {
    "propagation": "point_propagation",
    "region": "support_mask",
    "correspondence": "first_round",
    "fusion": "label_fusion",
}
GROWTH = {"neck_radius_mm": "opening_radius_mm", "neck_share": "opening_share"}
TRANSFER = {
    "vote_reach_mm": "search_mm",
    "vote_prior_mm": "transfer_prior_mm",
    "vote_temperature": "transfer_temperature",
    "carried_share": "warped_share",
}
# Stage -> old name of a config key -> its name.
KEYS: dict[str, dict[str, str]] = {
    "embedding": {"channels": "embedding_channels"},
    "support_mask": {**GROWTH, "reach": "growth", "reach_share": "growth_share"},
    "first_round": {**TRANSFER, "cycle_mm": "point_cycle_mm", "region": "support_mask"},
    "label_fusion": {
        **TRANSFER,
        "helpers": "most_atlases",
        "least_returned_dice": "least_round_trip_dice",
        "confident_vote": "least_point_probability",
    },
    "pseudo_labels": {
        **GROWTH,
        "confident_vote": "seed_probability",
        "confident_background": "background_seed_probability",
        "intensity_rounds": "em_rounds",
        "intensity_reach_mm": "em_reach_mm",
        "vote_weight": "probability_weight",
    },
    "segmentation": {
        "least_dice": "least_agreed_dice",
        "crop_share": "crop_margin_divisor",
        "crop_margin_mm": "margin_mm",
        "centres_per_class": "max_samples_per_class",
        "class_balance_epochs": "fade_epochs",
    },
    "self_check": {
        "region": "support_mask",
        "region_record": "support_mask_record",
        "good_return": "good_round_trip",
    },
}
ROUNDS = "match_cycle_mm and match_scale_mm, for the one round that fits an affine map; maps that bend are gone"
# Stage -> config key that no other one replaces -> what there is instead.
GONE: dict[str, dict[str, str]] = {
    "first_round": {"map_rounds": ROUNDS},
    "label_fusion": {"map_rounds": ROUNDS},
    "inference": {"network_share": "ensemble.network_share", "votes_dir": "the stage ensemble"},
}
# Old name of an entry of `run.json` -> its name.
SETTINGS = {"region": "support_mask"}


def current_overrides(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Stage -> config key -> value by their names of today; of two names of one key the last one counts.

    Raises:
        BundleError: a key that is gone.
    """
    current: dict[str, dict[str, Any]] = {}
    for old_stage, values in overrides.items():
        stage = _renamed(old_stage, STAGES, f"the stage {old_stage}")
        named = ((_current_key(stage, key), value) for key, value in values.items())
        current[stage] = last_of_each([*current.get(stage, {}).items(), *named])
    return current


def current_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a `run.json` by their names of today; its overrides are left as they are."""
    return {_renamed(name, SETTINGS, f"the setting {name}"): value for name, value in content.items()}


def _current_key(stage: str, key: str) -> str:
    first, *below = key.replace("::", "#").split("#")
    if first in GONE.get(stage, {}):
        raise BundleError(
            f"the config key {first!r} of the stage {stage!r} is gone",
            stage="settings",
            expected=GONE[stage][first],
            found=key,
        )
    renamed = _renamed(first, KEYS.get(stage, {}), f"the config key {stage}.{first}")
    return key if renamed == first else "#".join([renamed, *below])


def _renamed(name: str, table: Mapping[str, str], what: str) -> str:
    if name not in table:
        return name
    logger.warning("%s is called %s now; the old name works in this version for the last time", what, table[name])
    return table[name]
