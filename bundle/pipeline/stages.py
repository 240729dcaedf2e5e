"""The stages' config files: a base each, and patches of the same name in the folders of the chosen profiles."""

from __future__ import annotations

from bundle.pipeline.configs import CONFIGS
from bundle.pipeline.settings import RunSettings
from scripts.data.gate.modality import CT, MR

# Stage -> its config; what an earlier one has and a later one changes. Inference takes what the network's card says.
BASES: dict[str, list[str]] = {
    "prnet_coarse": ["train_prnet.json"],
    "prnet_fine": ["train_prnet.json", "train_prnet_fine.json"],
    "point_propagation": ["point_propagation.json"],
    "embedding": ["train_embedding.json"],
    "suggest": ["propagation_settings.json", "suggest.json"],
    "support_mask": ["support_mask.json"],
    "first_round": ["propagation_settings.json", "first_round.json"],
    "label_fusion": ["propagation_settings.json", "label_fusion.json"],
    "pseudo_labels": ["pseudo_labels.json"],
    "segmentation": ["train.json"],
    "inference": ["inference.json"],
    "ensemble": ["ensemble.json"],
    "choice": ["choice.json"],
    "self_check": ["self_check.json"],
}
# Mode -> the stages it runs; only these take `--set`.
STAGES: dict[str, tuple[str, ...]] = {
    "paper": ("prnet_coarse", "prnet_fine", "point_propagation", "pseudo_labels", "segmentation", "inference"),
    "default": (
        *("embedding", "support_mask", "first_round", "label_fusion", "pseudo_labels"),
        *("segmentation", "inference", "ensemble", "choice", "self_check"),
    ),
}


def are_labels_bounded(mode: str | None, small: bool, chosen: bool | None) -> bool:
    """Whether classes may not flood what surrounds them (mode `paper`): as chosen, else in the small configuration."""
    return mode == "paper" and small if chosen is None else chosen


def profiles(mode: str, small: bool, modality: str, bounded_labels: bool | None, all_pairs: bool) -> list[str]:
    """Folders of `configs/` whose patches apply, in order; the configs themselves are mode `default`, full size, CT."""
    chosen = ["paper"] if mode == "paper" else []
    if small:
        chosen += ["small", *(f"{name}_small" for name in chosen)]
    if modality == MR:
        chosen.append("mr")
    if all_pairs:
        chosen.append("all_pairs")
    if are_labels_bounded(mode, small, bounded_labels):
        chosen.append("bounded_labels")
    return chosen


def config_names(stage: str, settings: RunSettings) -> list[str]:
    """The stage's config files, relative to `configs/`: its own, then those of the profiles that have their names."""
    special = settings.bounded_labels, settings.all_pairs
    return profiled_names(stage, settings.mode, settings.small, settings.modality, *special)


def profiled_names(
    stage: str, mode: str, small: bool, modality: str = CT, bounded_labels: bool | None = None, all_pairs: bool = False
) -> list[str]:
    """The same of a mode, a configuration and a kind of volumes."""
    names = list(BASES[stage])
    chosen = profiles(mode, small, modality, bounded_labels, all_pairs)
    patches = [f"{profile}/{name}" for profile in chosen for name in names]
    return names + [patch for patch in patches if (CONFIGS / patch).is_file()]
