"""One key has one meaning, whichever config it stands in."""

from __future__ import annotations

import json
from typing import Any

from bundle.pipeline.configs import CONFIGS
from tests.configs.walk import components, is_value

# Keys of more than one config, and what each of them means in all of these. A new one is thought about here first.
MEANINGS = {
    "architecture": "which segmentation network",
    "background_limit": "most points of the background's strokes",
    "batch_size": "how many the network takes at once",
    "bfloat16": "whether networks run in bfloat16 where the processor does",
    "bias_correction": "whether the bias field of MR is divided out",
    "body_margin_mm": "what is kept around the body",
    "body_only": "whether a class ends where the body does",
    "body_points": "points of a body that are matched",
    "border_depth_share": "of its depth that smoothing may take from a class",
    "border_smoothing_voxels": "standard deviation by which a mask's border is smoothed",
    "bundle_root": "the folder that holds configs and models",
    "channels": "of the segmentation network, per resolution",
    "checkpoint_interval": "epochs between two checkpoints",
    "class_limit": "most points of a class's strokes",
    "classes": "name -> label value, in the order of the channels",
    "crop_to_body": "whether volumes are cropped to the body",
    "dropout": "of the plain U-Net",
    "far_mm": "from here on a match is none",
    "gain": "largest relative change of intensities",
    "geodesic_backend": "what computes geodesic distances",
    "image_smoothing_voxels": "standard deviation by which the image is smoothed before paths are measured in it",
    "iterations_per_epoch": "steps of the optimizer",
    "lam": "weight of intensity against length in geodesic distances, 0 to 1",
    "largest_component": "whether a class is one connected organ",
    "parts": "class -> how many connected parts it is in, of those in more than one",
    "learning_rate": "of the optimizer, at its highest",
    "match_volumes": "whether what a network claims is brought to the volumes of labels, or atlases",
    "match_prior_mm": "how near a match should be to where the map expects it",
    "match_temperature": "of the softmax over matches",
    "max_epochs": "of a training",
    "max_iterations": "limit of the rounds of geodesic distances",
    "modality": "what the volumes are: ct, mr, or auto where a cohort is prepared",
    "most_atlases": "cases beside the support by way of which labels or points are sent",
    "noise": "largest standard deviation of noise",
    "num_workers": "processes that draw patches",
    "offset": "largest shift of intensities",
    "opening_radius_mm": "what hangs on by a thinner passage is cut off",
    "opening_share": "of the depth of the deepest seed, which that radius never exceeds",
    "overlap": "share of a sliding window that the next one covers too",
    "patch_size": "voxels of what a network takes at once, X, Y, Z",
    "probability_weight": "of a step in class probability against one in intensity",
    "rank": "of this process among those that train together",
    "registration_half_steps": "of the optimizer, at half resolution",
    "registration_smoothness": "weight of the displacement's smoothness",
    "registration_steps": "of the optimizer, at full resolution",
    "rule": "which similarities keep a located point",
    "search_mm": "how far from where the map points labels are looked for",
    "seed": "of random numbers",
    "seed_probability": "a class's seeds have at least this probability",
    "background_seed_probability": "the background's seeds have at least this probability",
    "spacing_mm": "of the grid that the stage works on, X, Y, Z",
    "sw_batch_size": "sliding windows at once",
    "tau": "least similarity of a located point",
    "tissue_tolerance": "by how much a point's intensity may differ from its strokes'",
    "tolerance_share": "of the truncation: rounds that change less are the last",
    "transfer_prior_mm": "how near a label should be to where the map points",
    "transfer_temperature": "of the softmax over where labels come from",
    "truncation": "geodesic distance from which on a class has no affinity",
    "undecided_margin": "lead over the second class, as a share of the truncation, below which a voxel is undecided",
    "val_interval": "epochs between two validations",
    "validation_count": "cases left out of a training",
    "volumes_per_batch": "volumes that a step's samples come from",
    "warped_share": "of the warped mask in a class's probability, the rest is label transfer's",
}
MONAIS_OWN = {"keys", "mode", "prob", "name", "progress", "source_key"}  # arguments of transforms and handlers


def kind(value: Any) -> str:
    """What a value is, as a reader sees it."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return {list: "list", dict: "table"}.get(type(value), "text")


def kinds_by_key() -> dict[str, dict[str, str]]:
    """Key -> config -> kind, of plain values at the top and of arguments of our components."""
    table: dict[str, dict[str, str]] = {}
    for file in CONFIGS.glob("*.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if file.name == "metadata.json":
            continue
        ours = [part for _, part in components(config) if part["_target_"].startswith("scripts.")]
        for level in (config, *ours):
            for key, value in level.items():
                if is_value(value) and value is not None and not key.startswith("_") and key != "imports":
                    table.setdefault(key, {})[file.name] = kind(value)
    return table


def test_every_key_of_several_configs_has_a_meaning():
    patches = {"train_prnet_fine.json"}
    shared = {key for key, places in kinds_by_key().items() if len(places.keys() - patches) > 1}
    assert sorted(shared - MEANINGS.keys() - MONAIS_OWN) == []


def test_a_key_is_of_one_kind_everywhere():
    table = kinds_by_key()
    mixed = {key: places for key, places in table.items() if len(set(places.values())) > 1}
    assert {key: places for key, places in mixed.items() if key not in MONAIS_OWN} == {}
