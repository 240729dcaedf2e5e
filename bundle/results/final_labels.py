"""Whether the label maps in `predictions/` are of the present pseudo labels, or of those before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import keep_json, read_json
from scripts.common.work_folder import WorkFolder

PSEUDO_LABELS, SUPPORT_MASK, IMAGES = "pseudo_labels", "support_mask", "images"


def note_final_labels(work: WorkFolder, images: Mapping[str, str] | None = None) -> None:
    """Keep in `final_labels.json` of what the label maps in `predictions/` are: they were just made and checked.

    Args:
        work: the output folder.
        images: case -> fingerprint of its image.

    Raises:
        BundleError: the file cannot be written.
    """
    made_of = {PSEUDO_LABELS: _made_of(work.pseudo_labels.path), SUPPORT_MASK: _made_of(work.support_mask.path)}
    keep_json(work.final_labels, {**made_of, IMAGES: dict(images or {})})


def take_back_final_labels(work: WorkFolder) -> None:
    """Note that label maps in `predictions/` are about to be made, so that half of them are not taken for all.

    Raises:
        BundleError: the file cannot be written.
    """
    keep_json(work.final_labels, {**_content(work.final_labels), PSEUDO_LABELS: {}})


def labelled_images(work: WorkFolder) -> dict[str, str]:
    """Case -> fingerprint of the image that its label map in `predictions/` is of, as far as that was noted."""
    noted = _content(work.final_labels).get(IMAGES)
    return {str(case): str(image) for case, image in noted.items()} if isinstance(noted, dict) else {}


def has_final_labels(work: WorkFolder) -> bool:
    """Whether there are label maps in `predictions/` that were made of the present pseudo labels.

    Of a run of an earlier version, which noted nothing, those are of before that are older than pseudo labels.
    """
    if not any(work.predictions.path.glob("*.nii.gz")):
        return False
    noted = _content(work.final_labels).get(PSEUDO_LABELS)
    if isinstance(noted, dict):
        return all(noted.get(case) == inputs for case, inputs in _made_of(work.pseudo_labels.path).items())
    pairs = [(work.predictions.record(record.stem), record) for record in _records(work.pseudo_labels.path)]
    return all(_written_ns(final) >= _written_ns(record) for final, record in pairs if final.exists())


def is_support_mask_newer(work: WorkFolder) -> bool:
    """Whether the support mask grew anew since the label maps in `predictions/` were made, as far as that was noted."""
    noted = _content(work.final_labels).get(SUPPORT_MASK)
    return isinstance(noted, dict) and noted != _made_of(work.support_mask.path)


def _made_of(folder: Path) -> dict[str, str]:
    """Case -> fingerprint of what its result in a folder was made of; not of records that are damaged."""
    contents = {record.stem: _content(record) for record in _records(folder)}
    return {case: str(content["inputs"]) for case, content in contents.items() if "inputs" in content}


def _records(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.json"))


def _content(file: Path) -> dict[str, Any]:
    """What a JSON file says; nothing if it is missing or damaged."""
    try:
        content = read_json(file)
    except BundleError:
        return {}
    return content if isinstance(content, dict) else {}


def _written_ns(record: Path) -> int:
    return record.stat().st_mtime_ns
