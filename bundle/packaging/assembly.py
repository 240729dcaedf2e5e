"""What goes into a package: the bundle's parts without its driver, with the network's own classes in every config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from bundle.packaging.documents import with_linked_files
from bundle.packaging.model_card import PICTURE, TRAINING, mode_of, nameless, task_readme
from bundle.packaging.packages import Package
from bundle.packaging.release import DESCRIBED, STAGE, Release, described_metadata
from bundle.packaging.start_weights import with_terms_of_start_weights
from bundle.pipeline.configs import BUNDLE_ROOT, encoded
from bundle.pipeline.inference import network_overrides, numbered
from bundle.pipeline.run_of_network import CONFIG as INFERENCE
from bundle.pipeline.run_of_network import settings_of_run
from bundle.pipeline.settings import saved_settings
from scripts.common.errors import BundleError
from scripts.common.files import atomic_folder, read_json, sha256_of_file, write_json
from scripts.common.work_folder import WorkFolder
from scripts.networks.loading import read_card
from scripts.networks.segmenter import CARD, WEIGHTS

DOCS = ("README.md", "data_license.txt", "method.md", "results.md")  # and what these link to
TASK_DOCS = ("method.md", PICTURE)  # a user's network brings its own README and terms
LARGEST_MB = 25
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
WEIGHTS_FILE = "model.pt"


def assemble(release: Release, output: Path, task: Path | None = None, largest_mb: float = LARGEST_MB) -> Path:
    """Write the folder `OUTPUT/NAME`, whole or not at all; returns it. Of weights it holds the network's alone.

    Args:
        release: see `Release`.
        output: where the folder goes.
        task: output folder of `oneshot`; None for the bundle's own network.
        largest_mb: files above it lie elsewhere (`Release.large_files_url`).

    Raises:
        BundleError: no network or a damaged one, a version without a change or the reverse, terms where there are some
            or that are no text in UTF-8, or files in the way that we did not write.
    """
    work = None if task is None else WorkFolder(task)
    network = BUNDLE_ROOT / "models" if work is None else work.segmentation
    network_overrides(network)  # refuses what cannot be read
    _check_terms(release.data_terms, of_task=work is not None)
    card = numbered(read_card(network, WEIGHTS, CARD if work is None else CARD | TRAINING))
    package = Package(output, release.name)
    package.refuse_foreign()
    with atomic_folder(package.large_files) as apart, atomic_folder(package.folder) as growing:
        for part in ("configs", "scripts"):
            shutil.copytree(BUNDLE_ROOT / part, growing / part, ignore=IGNORED)
        shutil.copyfile(BUNDLE_ROOT / "LICENSE", growing / "LICENSE")
        _copy_network(growing / "models", network, card if work is None else nameless(card))
        metadata = _write_configs(growing / "configs", network, release, card, work)
        _copy_docs(growing / "docs", release, metadata, card, work)
        _part_large_files(growing, apart, release, largest_mb)
        package.note(growing, apart)
    with suppress(OSError):  # there are large files
        package.large_files.rmdir()
    return package.folder


def _check_terms(data_terms: Path | None, of_task: bool) -> None:
    """Refuse a user's network without terms of its data, and terms that nobody needs or that the zoo cannot read."""
    if of_task and (data_terms is None or not data_terms.is_file()):
        raise BundleError(
            "a network carries traces of the images it was trained on: say under which terms",
            stage=STAGE,
            file=data_terms,
            expected="--data-terms FILE, a text on the data and its terms",
        )
    if data_terms is None:
        return
    if not of_task:
        problem = "the terms of the bundle's own network are written down already"
        raise BundleError(problem, stage=STAGE, file=data_terms, expected="--data-terms with --task alone")
    try:
        data_terms.read_text(encoding="utf-8")  # the zoo's rules read every text so
    except (OSError, ValueError) as error:
        raise BundleError(
            "cannot read the terms of the data", stage=STAGE, file=data_terms, expected="a text in UTF-8", found=error
        ) from error


def _copy_network(target: Path, network: Path, card: Mapping[str, Any]) -> None:
    target.mkdir()
    shutil.copyfile(network / WEIGHTS_FILE, target / WEIGHTS_FILE)
    write_json(target / "model.json", card)


def _write_configs(
    configs: Path, network: Path, release: Release, card: Mapping[str, Any], work: WorkFolder | None
) -> dict[str, Any]:
    """Let the package's configs be those of its network; returns their metadata."""
    for name, keys in DESCRIBED.items():
        config = configs / name
        _write_config(config, read_json(config) | {key: card[key] for key in keys})
    if of_run := settings_of_run(network):
        config = configs / INFERENCE
        parser = ConfigParser(read_json(config))
        parser.update(encoded([INFERENCE], of_run))
        _write_config(config, parser.get())
    file = configs / "metadata.json"
    metadata = described_metadata(read_json(file), release, card, None if work is None else mode_of(work))
    _write_config(file, metadata)
    return metadata


def _write_config(file: Path, content: Mapping[str, Any]) -> None:
    """JSON as the zoo formats it."""
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _copy_docs(
    target: Path, release: Release, metadata: Mapping[str, Any], card: Mapping[str, Any], work: WorkFolder | None
) -> None:
    for file in with_linked_files(BUNDLE_ROOT / "docs", DOCS if work is None else TASK_DOCS):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(BUNDLE_ROOT / "docs" / file, target / file)
    if release.data_terms is not None:
        weights = None if work is None else saved_settings(work.path).get("weights")
        terms = with_terms_of_start_weights(release.data_terms.read_text(encoding="utf-8"), weights)
        (target / "data_license.txt").write_text(terms, encoding="utf-8")
    if work is not None:
        (target / "README.md").write_text(task_readme(release.name, metadata, card, work), encoding="utf-8")


def is_too_large(path: Path, largest_mb: float = LARGEST_MB) -> bool:
    """Whether this is a file above the zoo's limit."""
    return path.is_file() and path.stat().st_size > largest_mb * 2**20


def _part_large_files(folder: Path, apart: Path, release: Release, largest_mb: float) -> None:
    """Move files above the zoo's limit out of the package; `large_files.yml` says where to get them, and their hash.

    Raises:
        BundleError: there are such files and nobody says where they will lie.
    """
    large = [file for file in sorted(folder.rglob("*")) if is_too_large(file, largest_mb)]
    if not large:
        return
    if release.large_files_url is None:
        raise BundleError(
            f"files above {largest_mb} MB cannot be part of a package",
            stage=STAGE,
            file=large[0],
            expected="--large-files-url URL, where they will lie",
            found=f"{len(large)} such files",
        )
    lines = ["large_files:"]
    for file in large:
        name = file.relative_to(folder).as_posix()
        lines += [f'  - path: "{name}"', f'    url: "{release.large_files_url.rstrip("/")}/{name}"']
        lines += [f'    hash_val: "{sha256_of_file(file)}"', '    hash_type: "sha256"']
        (apart / name).parent.mkdir(parents=True, exist_ok=True)
        file.replace(apart / name)
    (folder / "large_files.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
