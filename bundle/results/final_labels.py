"""Whether the label maps in `predictions/` are of the present pseudo labels, or of those before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import keep_json, read_json
from scripts.common.work_folder import WorkFolder

PSEUDO_LABELS, SUPPORT_MASK, PREDICTIONS, IMAGES = "pseudo_labels", "support_mask", "predictions", "images"


def note_final_labels(work: WorkFolder, images: Mapping[str, str] | None = None) -> None:
    """Keep in `final_labels.json` of what the label maps in `predictions/` are: they were just made and checked.

    Args:
        work: the output folder.
        images: case -> fingerprint of its image.

    Raises:
        BundleError: the file cannot be written.
    """
    folders = {PSEUDO_LABELS: work.pseudo_labels, SUPPORT_MASK: work.support_mask, PREDICTIONS: work.predictions}
    made_of = {name: _made_of(folder.path) for name, folder in folders.items()}
    keep_json(work.final_labels, {**made_of, IMAGES: dict(images or {})})


def labelled_images(work: WorkFolder) -> dict[str, str]:
    """Case -> fingerprint of the image that its label map in `predictions/` is of, as far as that was noted."""
    noted = _content(work.final_labels).get(IMAGES)
    return {str(case): str(image) for case, image in noted.items()} if isinstance(noted, dict) else {}


def has_final_labels(work: WorkFolder) -> bool:
    """Whether there are label maps in `predictions/`, all of them made of the present pseudo labels and checked.

    Of a run that noted nothing, of an earlier version or killed before, all cases have one that is no older than their
    pseudo labels.
    """
    if not any(work.predictions.path.glob("*.nii.gz")):
        return False
    content = _content(work.final_labels)
    noted = content.get(PSEUDO_LABELS)
    if isinstance(noted, dict):
        if PREDICTIONS in content and content[PREDICTIONS] != _made_of(work.predictions.path):
            return False  # a run was killed while it made them anew
        return all(noted.get(case) == inputs for case, inputs in _made_of(work.pseudo_labels.path).items())
    pairs = [(work.predictions.record(record.stem), record) for record in _records(work.pseudo_labels.path)]
    are_newer = all(_written_ns(final) >= _written_ns(record) for final, record in pairs if final.exists())
    return are_newer and all(work.predictions.label(record.stem).exists() for _, record in pairs)


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
