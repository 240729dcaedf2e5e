"""Transforms for pseudo labels that change during training, and the batch that the loss wants."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import CacheDataset, MetaTensor
from monai.transforms import AsDiscreted, CropForeground, MapTransform, RandomizableTrait, Transform
from monai.utils import CommonKeys

from scripts.common.errors import BundleError
from scripts.data.volume_io import case_id
from scripts.segmentation.label_store import LabelStore


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
        margin_mm: mm kept around the box of all classes, on each side.
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


def lacking(label: torch.Tensor, located: torch.Tensor) -> torch.Tensor:
    """(K,) bool: the classes that are not located because they have no voxel, not because nobody trusts them.

    Args:
        label: (1, X, Y, Z) class indices.
        located: (K,).
    """
    known = located.bool().tolist()
    return torch.tensor([not (known[k] or bool((label == k + 1).any())) for k in range(len(known))])


class StoredLabeld(Transform, RandomizableTrait):
    """Replaces "label" by the label store's current one; counts as random, so that no dataset caches its result.

    A class that the first label lacked and label correction placed is located from then on.

    Args:
        store: None leaves labels alone.
    """

    def __init__(self, store: LabelStore | None) -> None:
        self.store = store

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        if self.store is None:
            return dict(data)
        first, label, located = data[CommonKeys.LABEL], current_label(data, self.store), data["located"]
        placed = lacking(first, located) & ~lacking(label, located)
        return {**data, CommonKeys.LABEL: label, "located": torch.maximum(located, placed.to(located))}


class AsDecidedDiscreted(AsDiscreted):
    """`AsDiscreted` of a prediction and its label, both background where the label is undecided.

    An undecided voxel has the class index behind the last one, K + 1, for which there is no channel.

    Args:
        keys: prediction and label, channel-first.
        argmax: whether prediction and label hold scores, of which the largest counts, and not class indices.
        to_onehot: channels, K + 1.
    """

    def __init__(self, keys: KeysCollection, argmax: Sequence[bool], to_onehot: int) -> None:
        super().__init__(keys, argmax, to_onehot)
        self.channels = to_onehot

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        label = data[CommonKeys.LABEL]
        undecided = label >= self.channels
        known = torch.where(undecided, torch.zeros_like(label), label)
        result: dict[Hashable, Any] = super().__call__({**data, CommonKeys.LABEL: known})
        for key in self.key_iterator(result):
            result[key][:, undecided[0]] = 0
            result[key][0, undecided[0]] = 1
        return result


class CachedCases(CacheDataset):
    """`CacheDataset` that also hands out its items before the random transforms."""

    def preprocessed(self, index: int) -> dict[Hashable, Any]:
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
