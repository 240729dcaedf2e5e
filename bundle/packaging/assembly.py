"""What goes into a package: the bundle's parts without its driver, with the network's own classes in every config."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.packaging.model_card import task_readme
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import CARD_KEYS, network_overrides, numbered
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json

DESCRIBED = {"inference.json": CARD_KEYS, "train.json": CARD_KEYS, "evaluate.json": ("classes",)}  # config -> its keys
DOCS = ("README.md", "data_license.txt", "method.md", "benchmarks.md")
TASK_DOCS = ("method.md",)  # a user's network brings its own README and terms
LARGEST_MB = 25
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


@dataclass(frozen=True)
class Release:
    """What a package is called and says about itself.

    Attributes:
        name: folder name, such as spleen_ct_segmentation.
        version: such as 0.2.0; None keeps that of `configs/metadata.json`.
        change: one line for the changelog; needed with a new version.
        authors: for the metadata; None keeps them.
        data_terms: file on the data and its terms, which becomes `docs/data_license.txt`; needed for a user's network.
        large_files_url: where files above 25 MB will lie; needed if there are any.
    """

    name: str
    version: str | None = None
    change: str | None = None
    authors: str | None = None
    data_terms: Path | None = None
    large_files_url: str | None = None


def assemble(release: Release, output: Path, task: Path | None = None) -> Path:
    """Write the folder `OUTPUT/NAME`, whole or not at all; returns it.

    Args:
        release: see `Release`.
        output: where the folder goes.
        task: output folder of `oneshot`; None for the bundle's own network.

    Raises:
        BundleError: no network, or a version without a change.
    """
    network = BUNDLE_ROOT / "models" if task is None else task / "segmentation"
    network_overrides(network)  # refuses what cannot be read
    if task is not None and (release.data_terms is None or not release.data_terms.is_file()):
        raise BundleError(
            "a network carries traces of the images it was trained on: say under which terms",
            stage="package",
            file=release.data_terms,
            expected="--data-terms FILE, a text on the data and its terms",
        )
    card = numbered(read_json(network / "model.json"))
    folder, growing = output / release.name, output / f".{release.name}"
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    for part in ("configs", "scripts"):
        shutil.copytree(BUNDLE_ROOT / part, growing / part, ignore=IGNORED)
    shutil.copyfile(BUNDLE_ROOT / "LICENSE", growing / "LICENSE")
    _copy_models(growing / "models", task)
    write_json(growing / "models" / "model.json", card)
    for name, keys in DESCRIBED.items():
        config = growing / "configs" / name
        _write_config(config, read_json(config) | {key: card[key] for key in keys})
    metadata = described_metadata(read_json(growing / "configs" / "metadata.json"), release, card)
    _write_config(growing / "configs" / "metadata.json", metadata)
    _copy_docs(growing / "docs", release, metadata, card, task)
    _part_large_files(growing, output / f"{release.name}_large_files", release)
    shutil.rmtree(folder, ignore_errors=True)
    growing.rename(folder)
    return folder


def described_metadata(metadata: Mapping[str, Any], release: Release, card: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the release's version and changelog, and the network's classes.

    Raises:
        BundleError: a new version without a change.
    """
    result = copy.deepcopy(dict(metadata))
    if release.version is not None and release.version not in result["changelog"]:
        if release.change is None:
            raise BundleError(
                "a new version needs a line for the changelog", stage="package", expected="--change", found="nothing"
            )
        result["changelog"] = {release.version: release.change, **result["changelog"]}
    result["version"] = release.version or result["version"]
    result["authors"] = release.authors or result["authors"]
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


def _copy_models(target: Path, task: Path | None) -> None:
    if task is None:
        shutil.copytree(BUNDLE_ROOT / "models", target, ignore=IGNORED)
        return
    for source, folder in ((task / "segmentation", target), (task / "embedding", target / "embedding")):
        for file in (source / "model.pt", source / "model.json"):
            if file.exists():
                folder.mkdir(exist_ok=True)
                shutil.copyfile(file, folder / file.name)


def _write_config(file: Path, content: Mapping[str, Any]) -> None:
    """JSON as the zoo formats it."""
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _copy_docs(
    target: Path, release: Release, metadata: Mapping[str, Any], card: Mapping[str, Any], task: Path | None
) -> None:
    target.mkdir()
    for name in DOCS if task is None else TASK_DOCS:
        shutil.copyfile(BUNDLE_ROOT / "docs" / name, target / name)
    if release.data_terms is not None:
        shutil.copyfile(release.data_terms, target / "data_license.txt")
    if task is not None:
        (target / "README.md").write_text(task_readme(release.name, metadata, card, task), encoding="utf-8")


def is_too_large(path: Path) -> bool:
    """Whether this is a file above the zoo's limit."""
    return path.is_file() and path.stat().st_size > LARGEST_MB * 2**20


def _part_large_files(folder: Path, apart: Path, release: Release) -> None:
    """Move files above the zoo's limit out of the package; `large_files.yml` says where to get them, and their hash.

    Raises:
        BundleError: there are such files and nobody says where they will lie.
    """
    large = [file for file in sorted(folder.rglob("*")) if is_too_large(file)]
    if not large:
        return
    if release.large_files_url is None:
        raise BundleError(
            f"files above {LARGEST_MB} MB cannot be part of a package",
            stage="package",
            file=large[0],
            expected="--large-files-url URL, where they will lie",
            found=f"{len(large)} such files",
        )
    lines = ["large_files:"]
    for file in large:
        place = file.relative_to(folder).as_posix()
        lines += [f'  - path: "{place}"', f'    url: "{release.large_files_url.rstrip("/")}/{place}"']
        lines += [f'    hash_val: "{sha256_of_file(file)}"', '    hash_type: "sha256"']
        (apart / place).parent.mkdir(parents=True, exist_ok=True)
        file.replace(apart / place)
    (folder / "large_files.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
