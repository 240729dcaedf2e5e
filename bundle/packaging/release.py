"""What a package is called and says about itself."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.pipeline.inference import CARD_KEYS
from scripts.common.errors import BundleError
from scripts.data.gate.modality import MR

STAGE = "package"
SCORES = "scores"  # of a network's card
MR_IMAGES = {
    "data_source": "MR volumes of the user; one of them with scribbles",
    "image_classes": "single channel MR, its 1st and 75th percentile inside the body mapped to 0.2 and 0.5",
}
LOCATED_POINTS = (
    "A segmentation network trained without label maps: the points of the scribbles of one CT volume are located one "
    "by one in unlabelled volumes by self-supervised networks that predict how far two patches lie apart (PRNets), and "
    "grown to pseudo labels by geodesic distance."
)
ABBREVIATIONS = ("ct", "mr", "mri")
NAME = re.compile(r"[A-Za-z0-9_]+")
# Config -> its keys that say what the network is; they are those of its card.
DESCRIBED = {"inference.json": CARD_KEYS, "train.json": CARD_KEYS, "evaluate.json": ("classes",)}


@dataclass(frozen=True)
class Release:
    """What a package is called and says about itself.

    Attributes:
        name: folder name, such as spleen_ct_segmentation; letters, digits and _ alone.
        version: such as 0.2.0; None keeps that of `configs/metadata.json`.
        change: one line for the changelog; needed with a new version.
        authors: for the metadata; None keeps them.
        data_terms: file on the data and its terms, which becomes `docs/data_license.txt`; needed for a user's network.
            Those of networks that the run began with are added.
        large_files_url: where files above 25 MB will lie; needed if there are any.

    Raises:
        BundleError: a name that could lead elsewhere.
    """

    name: str
    version: str | None = None
    change: str | None = None
    authors: str | None = None
    data_terms: Path | None = None
    large_files_url: str | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BundleError(
                "a package cannot have this name",
                stage=STAGE,
                expected="letters, digits and _, such as spleen_ct_segmentation",
                found=repr(self.name),
            )

    @property
    def title(self) -> str:
        """The name in words, such as "Spleen CT segmentation"."""
        words = self.name.replace("_", " ").split()
        title = " ".join(word.upper() if word in ABBREVIATIONS else word for word in words)
        return title[:1].upper() + title[1:]


def described_metadata(
    metadata: Mapping[str, Any], release: Release, card: Mapping[str, Any], mode: str | None = None
) -> dict[str, Any]:
    """The metadata with the release's version and changelog, and the network's classes.

    Args:
        metadata: of the bundle.
        release: see `Release`.
        card: of the network.
        mode: that a user's network was made in; None for the bundle's own.

    Raises:
        BundleError: a new version without a change, or a change without one.
    """
    result = copy.deepcopy(dict(metadata))
    is_new = release.version is not None and release.version not in result["changelog"]
    if release.change is not None and not is_new:
        expected = "--version with a new one"
        problem = "the changelog has its line for this version"
        raise BundleError(problem, stage=STAGE, expected=expected, found=release.version or result["version"])
    if is_new:
        if release.change is None:
            raise BundleError(
                "a new version needs a line for the changelog", stage=STAGE, expected="--change", found="nothing"
            )
        result["changelog"] = {release.version: release.change, **result["changelog"]}
    result["version"] = release.version or result["version"]
    result["authors"] = release.authors or result["authors"]
    if mode is not None:
        result["name"] = release.title
        del result["prnet_data_format"]  # no PRNet goes along
    if mode == "paper":
        result["description"] = LOCATED_POINTS
    if SCORES not in card:  # nobody has measured it
        del result["eval_metrics"]
    if card["modality"] == MR:
        result |= MR_IMAGES | {key: result[key].replace("CT", "MR") for key in ("task", "description")}
        result["network_data_format"]["inputs"]["image"] |= {"format": "magnitude", "modality": "MR"}
    names = list(card["classes"])
    words = [name.replace("_", " ") for name in names]
    values = ", ".join(f"{value} {word}" for value, word in enumerate(words, start=1))
    result["label_classes"] = f"single channel label map, 0 background, {values}"
    result["pred_classes"] = f"{len(names) + 1} channels of logits: background, {', '.join(words)}"
    outputs = result["network_data_format"]["outputs"]["pred"]
    outputs["num_channels"] = len(names) + 1
    outputs["channel_def"] = {str(channel): name for channel, name in enumerate(["background", *names])}
    result["network_data_format"]["post_processed_outputs"]["pred"]["value_range"] = [0, len(names)]
    return result
