"""Data of the segmentation network: lists of cases, and transforms for pseudo labels that change during training."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import CacheDataset, MetaTensor
from monai.transforms import CropForeground, MapTransform, RandomizableTrait, Transform
from monai.utils import CommonKeys

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_nifti
from scripts.data.cohort import load_cohort
from scripts.data.volume_io import case_id, find_volumes, is_nifti, read_volume
from scripts.quality.records import distrusted
from scripts.segmentation.label_store import LabelStore

logger = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------------------------- lists of cases


def training_items(
    work_dir: str | Path,
    classes: Mapping[str, int],
    validation_count: int = 0,
    validation: bool = False,
    checks_dir: str | Path | None = None,
    least_dice: float = 0.0,
    labels_dir: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Cases with their pseudo labels: [{"image", "label", "case", "not_located": [class, ...]}].

    A class whose pseudo label the self-check doubts counts as not located. A case in which no class was located
    supervises nothing and is left out.

    Args:
        work_dir: the work directory with `cohort.json`.
        classes: name -> label value, those to be trained.
        validation_count: cases set aside to watch training (never used to choose weights).
        validation: return those instead of the training cases.
        checks_dir: what the self-check says about the pseudo labels; None trusts all.
        least_dice: a class whose predicted Dice is below is doubted.
        labels_dir: the pseudo labels, `ID.nii.gz` and `ID.json`; None for `pseudo_labels/` in the work directory.

    Raises:
        BundleError: no pseudo labels, or pseudo labels of other classes.
    """
    cohort = load_cohort(work_dir)
    ids = cohort.split(validation_count)[1 if validation else 0]
    folder = Path(work_dir) / "pseudo_labels" if labels_dir is None else Path(labels_dir)
    items = []
    for case in ids:
        card = folder / f"{case}.json"
        if not card.is_file() or not (folder / f"{case}.nii.gz").is_file():
            logger.warning("case %s has no pseudo label and is left out", case)
            continue
        not_located = _not_located(case, card, classes)
        if checks_dir is not None:
            doubted = [name for name in distrusted(checks_dir, case, least_dice) if name not in not_located]
            not_located += [name for name in doubted if name in classes]
        if len(not_located) == len(classes):
            logger.warning("case %s is left out: none of its classes was located", case)
            continue
        label = folder / f"{case}.nii.gz"
        image = cohort.cases[case].image
        items.append({"image": str(image), "label": str(label), "case": case, "not_located": not_located})
    if not items and not validation:
        raise BundleError(
            "there are no pseudo labels to train on",
            stage="segmentation",
            file=folder,
            expected="ID.nii.gz and ID.json, with at least one class located",
            found=f"none for {len(ids)} cases",
        )
    return items


def _not_located(case: str, card: Path, classes: Mapping[str, int]) -> list[str]:
    content = read_json(card)
    if any(content["classes"].get(name) != value for name, value in classes.items()):
        raise BundleError(
            "the pseudo labels are of other classes",
            case=case,
            stage="segmentation",
            file=card,
            expected=dict(classes),
            found=content["classes"],
        )
    return [name for name in content["not_located"] if name in classes]


def inference_items(
    dataset_dir: str | Path, output_dir: str | Path, skip_existing: bool = False, pattern: str = "*"
) -> list[dict[str, str]]:
    """Volumes of a folder as [{"image", "case"}], every one checked; bad ones are logged and left out.

    Other formats than NIfTI are converted to `output_dir/images/ID.nii.gz`.

    Args:
        dataset_dir: folder of CT volumes (see `find_volumes`).
        output_dir: where label maps go.
        skip_existing: leave out cases whose label map is there.
        pattern: what the volumes' file names look like, as in a shell.

    Raises:
        BundleError: no volume is usable.
    """
    output_dir = Path(output_dir)
    items, done = [], 0
    for case, path in find_volumes(dataset_dir).items():
        if not fnmatch(path.name, pattern):
            continue
        if skip_existing and (output_dir / f"{case}.nii.gz").is_file():
            done += 1
            continue
        try:
            image = _checked_nifti(case, path, output_dir / "images")
        except BundleError as error:
            logger.error("left out: %s", error)
            continue
        items.append({"image": str(image), "case": case})
    if not items and not done:
        raise BundleError(
            "there is no volume to segment", stage="inference", file=dataset_dir, expected="CT volumes", found="none"
        )
    return items


def _checked_nifti(case: str, path: Path, converted: Path) -> Path:
    volume = read_volume(path)
    if is_nifti(path):
        return path
    image = converted / f"{case}.nii.gz"
    write_nifti(image, volume.array, volume.affine)
    return image


# --------------------------------------------------------------------------------------------------------- transforms


class LocatedClassesd(Transform):
    """Adds "case" and "located": (K,) float32, 0 for the classes in the optional item "not_located", which it takes.

    A datalist of plain {"image", "label"} pairs counts as fully labelled, its case is the image file's name.

    Args:
        classes: names (or name -> value) in the order of the channels 1..K.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        missing = result.pop("not_located", None) or []
        result["located"] = torch.tensor([float(name not in missing) for name in self.classes])
        image = result[CommonKeys.IMAGE]
        result.setdefault("case", case_id(image.meta["filename_or_obj"] if isinstance(image, MetaTensor) else image))
        return result


class CropToLabeld(MapTransform):
    """Crop to the box around all classes plus a margin, within the image; a label without any voxel crops nothing.

    Args:
        keys: channel-first MetaTensors on one grid.
        source_key: the label map.
        margin_mm: on each side.
    """

    def __init__(self, keys: KeysCollection, source_key: str, margin_mm: float) -> None:
        super().__init__(keys)
        self.source_key, self.margin_mm = source_key, margin_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        label = result[self.source_key]
        if not (label > 0).any():
            return result
        margin = [round(self.margin_mm / float(step)) for step in label.pixdim]
        crop = CropForeground(margin=margin, allow_smaller=True)
        start, end = crop.compute_bounding_box(label)
        for key in self.key_iterator(result):
            result[key] = crop.crop_pad(result[key], start, end)
        return result


def current_label(item: Mapping[Hashable, Any], store: LabelStore) -> torch.Tensor:
    """(1, X, Y, Z) class indices of a preprocessed item: the store's newest round, else the item's own label.

    Raises:
        BundleError: the stored label is of another grid.
    """
    label = item[CommonKeys.LABEL]
    stored = store.read(item["case"])
    if stored is None:
        return label.as_tensor() if isinstance(label, MetaTensor) else label
    if stored.shape != tuple(label.shape[1:]):
        raise BundleError(
            "the corrected labels are of another grid",
            case=item["case"],
            stage="label correction",
            file=store.directory,
            expected=tuple(label.shape[1:]),
            found=stored.shape,
        )
    return torch.from_numpy(stored)[None].to(label.device)


class StoredLabeld(Transform, RandomizableTrait):
    """Replaces "label" by the label store's current one; counts as random, so that no dataset caches its result.

    Args:
        store: None leaves labels alone.
    """

    def __init__(self, store: LabelStore | None) -> None:
        self.store = store

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        if self.store is None:
            return dict(data)
        return {**data, CommonKeys.LABEL: current_label(data, self.store)}


class CachedCases(CacheDataset):
    """`CacheDataset` that also hands out its items before the random transforms."""

    def preprocessed(self, index: int) -> dict[str, Any]:
        """The cached item itself, not a copy: leave it unchanged."""
        return self._cache[index] if index < self.cache_num else self._load_cache_item(index)


def prepare_batch(
    batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(image, {"label", "located"}) on `device`: the input and what `LocatedDiceCELoss` wants."""
    image, label, located = (
        batch[key].to(device=device, non_blocking=non_blocking, **kwargs)
        for key in (CommonKeys.IMAGE, CommonKeys.LABEL, "located")
    )
    return image, {CommonKeys.LABEL: label, "located": located}
