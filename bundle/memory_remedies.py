"""Where memory is short: which settings of a stage make it need less."""

from __future__ import annotations

SMALL = "or --small"
ON_CPU = "device=cpu if the GPU is too small"
NETWORK_GRID = f"a coarser --set embedding.spacing_mm=[X,Y,Z] {SMALL}"
# Config -> what to do.
MEMORY_REMEDIES = {
    "train_embedding": (
        "--set embedding.cache_device=cpu if the GPU is too small; a smaller --set embedding.volumes_per_batch=N or "
        f"embedding.window_size=[X,Y,Z]; {NETWORK_GRID}"
    ),
    "train": (
        "--set segmentation.cache_device=cpu if the GPU is too small; a smaller --set segmentation.batch_size=N or "
        f"segmentation.patch_size=[X,Y,Z]; a coarser --set segmentation.spacing_mm=[X,Y,Z] {SMALL}"
    ),
    "train_prnet": (
        f"a smaller --set prnet_coarse.volumes_per_batch=N; a coarser --set prnet_coarse.spacing_mm=[X,Y,Z] {SMALL}"
    ),
    "train_prnet_fine": (
        f"a smaller --set prnet_fine.volumes_per_batch=N; a coarser --set prnet_fine.spacing_mm=[X,Y,Z] {SMALL}"
    ),
    "point_propagation": f"--set point_propagation.{ON_CPU}; a smaller --set point_propagation.batch_size=N",
    "suggest": "--device cpu if the GPU is too small; else more memory",
    "support_mask": f"--set support_mask.{ON_CPU}; a coarser --set support_mask.geodesic_spacing_mm=[X,Y,Z] {SMALL}",
    "first_round": f"--set first_round.{ON_CPU}; {NETWORK_GRID}",
    "label_fusion": f"--set label_fusion.{ON_CPU}; {NETWORK_GRID}",
    "pseudo_labels": (
        f"--set pseudo_labels.{ON_CPU}; a coarser --set pseudo_labels.geodesic_spacing_mm=[X,Y,Z] {SMALL}"
    ),
    "ensemble": NETWORK_GRID,
    "inference": "--device cpu if the GPU is too small; else a network of a coarser segmentation.spacing_mm",
}
