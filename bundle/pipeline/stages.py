"""The stages' config files."""

from __future__ import annotations

from bundle.pipeline.settings import RunSettings

# Stage -> its configs, and the patches that fit it to two CPU cores. Inference takes what the network's card says.
CONFIGS: dict[str, tuple[list[str], list[str]]] = {
    "prnet_coarse": (["train_prnet.json"], ["small.json"]),
    "prnet_fine": (["train_prnet.json", "train_prnet_fine.json"], ["small.json"]),
    "propagation": (["point_propagation.json"], ["small_point_propagation.json"]),
    "embedding": (["train_embedding.json"], ["small_embedding.json"]),
    "support_mask": (["support_mask.json"], ["small_pseudo_labels.json"]),
    "first_round": (["first_round.json"], ["small_point_propagation.json"]),
    "label_fusion": (["label_fusion.json"], []),
    "pseudo_labels": (["pseudo_labels.json"], ["small_pseudo_labels.json"]),
    "segmentation": (["train.json"], ["small_segmentation.json"]),
    "inference": (["inference.json"], []),
    "self_check": (["self_check.json"], []),
}
# Mode -> the stages it runs; only these take `--set`.
STAGES: dict[str, tuple[str, ...]] = {
    "paper": ("prnet_coarse", "prnet_fine", "propagation", "pseudo_labels", "segmentation", "inference"),
    "default": (
        *("embedding", "support_mask", "first_round", "label_fusion", "pseudo_labels"),
        *("segmentation", "inference", "self_check"),
    ),
}
# What a mode changes in stages that others share.
MODE_PATCHES: dict[str, dict[str, list[str]]] = {
    "paper": {"segmentation": ["paper_segmentation.json"]},
    "default": {"pseudo_labels": ["default_pseudo_labels.json"], "segmentation": ["default_segmentation.json"]},
}
SMALL_MODE_PATCHES: dict[str, dict[str, list[str]]] = {
    "default": {"segmentation": ["small_default_segmentation.json"]},
}


def config_names(stage: str, settings: RunSettings) -> list[str]:
    """The stage's config files: its own, the mode's patches, and those for two CPU cores if the settings say small."""
    names, small = CONFIGS[stage]
    patches = MODE_PATCHES.get(settings.mode, {}).get(stage, [])
    if settings.small:
        patches = [*patches, *small, *SMALL_MODE_PATCHES.get(settings.mode, {}).get(stage, [])]
    return [*names, *patches]
