"""The zoo's rules that can be checked by looking at the files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bundle.packaging.assembly import LARGEST_MB, is_too_large
from bundle.packaging.code_rules import broken_configs, broken_imports
from bundle.packaging.documents import linked_files
from bundle.packaging.release import DESCRIBED
from scripts.common.files import load_tensors, read_json

FILES = (
    *("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "configs/logging.conf"),
    *("docs/README.md", "docs/data_license.txt", "models/model.json", "scripts/__init__.py"),
)
PARTS = {"configs", "scripts", "models", "docs", "LICENSE", "large_files.yml"}
TEXTS = {
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"),
    *("copyright", "data_source", "data_type", "image_classes", "label_classes", "pred_classes", "intended_use"),
}
REQUIRED = TEXTS - {"data_source", "data_type", "image_classes", "label_classes", "pred_classes", "intended_use"}
TABLES = ("eval_metrics", "supported_apps")
TENSOR = {"type": str, "format": str, "num_channels": int, "spatial_shape": list, "dtype": str, "value_range": list}
CONFIG_KEYS = {
    "inference.json": ("bundle_root", "device", "network_def", "inferer", "dataset", "evaluator", "output_dir"),
    "train.json": (
        *("bundle_root", "device", "dataset_dir", "output_dir", "train#trainer#max_epochs", "train#dataset#data"),
        *("train#handlers", "train#inferer", "train#preprocessing", "validate#evaluator", "validate#handlers"),
        *("validate#dataset#data", "validate#key_metric", "val_interval"),
    ),
}
HEADINGS = (
    *("### **Authors**", "### **Tags**", "## **Model Description**", "## **Data**", "#### **Preprocessing**"),
    *("## **Performance**", "## **Additional Usage Steps**", "## **System Configuration**", "## **Limitations**"),
    *("## **Citation Info**", "## **References**", "## **License**"),
)
NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
VERSION = re.compile(r"\d+\.\d+\.\d+")
PERSONAL = re.compile(r"(?<![\w.])/(home|Users|root|work|mnt)/\w|[A-Z]:\\\\")


def broken_rules(folder: Path, schema: Path | None = None, largest_mb: float = LARGEST_MB) -> list[str]:
    """Every rule that the package in `folder` breaks, in words; empty if it is in order.

    Args:
        folder: the package.
        schema: file of the metadata's schema; None checks required keys and types only.
        largest_mb: of a file.
    """
    missing = [f"{name} is missing" for name in FILES if not (folder / name).is_file()]
    if missing:
        return missing
    unreadable = list(broken_configs(folder))
    if any("is no JSON" in problem for problem in unreadable):
        return unreadable
    rules: list[Callable[[Path], Iterator[str]]] = [
        broken_name,
        _parts,
        _metadata,
        _versions,
        _configs,
        _classes,
        _texts,
        broken_imports,
        _weights,
        _readme,
        _links,
    ]
    problems = unreadable + list(_sizes(folder, largest_mb))
    problems += [problem for rule in rules for problem in rule(folder)]
    return problems + (list(_schema(folder, schema)) if schema is not None else [])


def broken_name(folder: Path) -> Iterator[str]:
    """Rules that the folder's name breaks; nothing in it is read."""
    if not NAME.fullmatch(folder.name):
        yield f"the name {folder.name!r} is not lower case words joined by _"
    elif "segmentation" not in folder.name:
        yield f"the name {folder.name!r} lacks the task (segmentation), by which MONAI Label knows what a model does"


def _parts(folder: Path) -> Iterator[str]:
    for entry in sorted(folder.iterdir()):
        if entry.name not in PARTS:
            yield f"{entry.name} does not belong into a package"
    for file in sorted(folder.rglob("*")):
        if file.name == "__pycache__" or file.suffix == ".pyc":
            yield f"{file.relative_to(folder)} is a cache"


def _sizes(folder: Path, largest_mb: float) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if is_too_large(file, largest_mb):
            yield f"{file.relative_to(folder)} is larger than {largest_mb} MB"


def _metadata(folder: Path) -> Iterator[str]:
    metadata = read_json(folder / "configs" / "metadata.json")
    for key in sorted(REQUIRED - set(metadata)):
        yield f"metadata.json lacks {key}"
    for key in sorted(TEXTS & set(metadata)):
        if not isinstance(metadata[key], str):
            yield f"metadata.json: {key} is no text"
    if not isinstance(metadata.get("required_packages_version"), dict):
        yield "metadata.json lacks required_packages_version"
    for name, network in metadata.items():
        if name.endswith("_data_format"):
            yield from _tensors(name, network)
    for key in TABLES:
        if not isinstance(metadata.get(key, {}), dict):
            yield f"metadata.json: {key} is no table"
    if "network_data_format" not in metadata:
        yield "metadata.json lacks network_data_format"


def _tensors(name: str, network: Mapping[str, Any]) -> Iterator[str]:
    for direction in ("inputs", "outputs"):
        if direction not in network:
            yield f"metadata.json: {name} lacks {direction}"
        for tensor, content in network.get(direction, {}).items():
            for key, kind in TENSOR.items():
                if not isinstance(content.get(key), kind):
                    yield f"metadata.json: {name}, {direction}, {tensor}: {key} is no {kind.__name__}"


def _versions(folder: Path) -> Iterator[str]:
    metadata = read_json(folder / "configs" / "metadata.json")
    version, changelog = str(metadata.get("version")), metadata.get("changelog", {})
    if not VERSION.fullmatch(version):
        yield f"the version {version!r} is not three numbers"
    if version not in changelog:
        yield f"the changelog lacks version {version}"


def _configs(folder: Path) -> Iterator[str]:
    for name, keys in CONFIG_KEYS.items():
        config = read_json(folder / "configs" / name)
        for key in keys:
            inner: Any = config
            for part in key.split("#"):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner is None:
                yield f"configs/{name} lacks {key}"


def _classes(folder: Path) -> Iterator[str]:
    """Metadata, configs and card speak of one network."""
    card = read_json(folder / "models" / "model.json")
    for name, keys in DESCRIBED.items():
        config = read_json(folder / "configs" / name)
        for key in keys:
            if config.get(key) != card.get(key):
                yield f"configs/{name}: {key} is not what models/model.json says"
    output = read_json(folder / "configs" / "metadata.json")["network_data_format"]["outputs"]["pred"]
    expected = {"0": "background"} | {str(value): name for name, value in card["classes"].items()}
    if output.get("channel_def") != expected or output.get("num_channels") != len(expected):
        yield "metadata.json: channel_def and num_channels of pred are not the network's classes"


def _texts(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.suffix not in {".json", ".py", ".md", ".txt", ".conf", ".yml"}:
            continue
        text, place = file.read_text(encoding="utf-8"), file.relative_to(folder)
        if match := PERSONAL.search(text):
            yield f"{place} names a place on one machine: {match.group()}"


def _weights(folder: Path) -> Iterator[str]:
    models = folder / "models"
    if not (models / "model.pt").is_file() and not (folder / "large_files.yml").is_file():
        yield "models/model.pt is missing"
    for file in sorted(models.rglob("*.pt")):
        place = file.relative_to(folder)
        try:
            state = load_tensors(file)
        except (OSError, ValueError) as error:
            yield f"{place} cannot be read: {error}"
            continue
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            yield f"{place} is no flat table of tensors"
        if file.parent == models and file.name != "model.pt" and len(file.name) <= len("model.pt"):
            yield f"{place} would be loaded by MONAI Label instead of model.pt"


def _readme(folder: Path) -> Iterator[str]:
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# "):
        yield "docs/README.md does not begin with a title"
    if "![" not in text:
        yield "docs/README.md has no picture"
    for heading in HEADINGS:
        if heading not in lines:
            yield f"docs/README.md lacks the heading {heading!r}"
    if "diagnostic" not in " ".join(lines):
        yield "docs/README.md does not say that this is not for diagnostic use"


def _links(folder: Path) -> Iterator[str]:
    for page in sorted((folder / "docs").rglob("*.md")):
        for file in linked_files(page):
            if not file.is_relative_to(folder.resolve()) or not file.exists():
                yield f"{page.relative_to(folder)} links to {file.name}, which is not in the package"


def _schema(folder: Path, schema: Path) -> Iterator[str]:
    import jsonschema  # a development dependency

    validator = jsonschema.Draft201909Validator(json.loads(schema.read_text(encoding="utf-8")))
    for error in validator.iter_errors(read_json(folder / "configs" / "metadata.json")):
        yield f"metadata.json breaks the schema at {error.json_path}: {error.message}"
