import logging
import os

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged

from scripts.common.errors import BundleError
from scripts.data.spacing_transforms import AntiAliasd, SafeSpacingd
from scripts.segmentation.items import inference_items
from scripts.segmentation.label_store import LabelStore
from scripts.segmentation.transforms import CachedCases, CropToLabeld, LocatedClassesd, StoredLabeld, prepare_batch
from tests.segmentation_fixtures import CLASSES, LAS, phantom


def test_inference_items_convert_skip_and_name_bad_volumes(tmp_path, caplog):
    import SimpleITK as sitk

    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    hu, _ = phantom(0)
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(hu, LAS), folder / f"{name}.nii.gz")
    image = sitk.GetImageFromArray(hu.transpose())
    image.SetSpacing((4, 4, 5))
    sitk.WriteImage(image, str(folder / "c.mha"))
    (folder / "d.nii.gz").write_bytes(b"")
    output.mkdir()
    (output / "b.nii.gz").touch()
    with caplog.at_level(logging.WARNING):
        items = inference_items(folder, output, skip_existing=True)
    assert [item["case"] for item in items] == ["a", "c"]
    assert items[1]["image"] == str(output / "images" / "c.nii.gz")
    assert "the file is empty" in caplog.text
    assert len(inference_items(folder, output)) == 3
    with pytest.raises(BundleError, match="no volume to segment"):
        (tmp_path / "empty").mkdir()
        inference_items(tmp_path / "empty", output)


@pytest.mark.parametrize("output", ["in", "in/../in"])
def test_label_maps_never_take_the_place_of_their_images(tmp_path, output):
    image = tmp_path / "in" / "a.nii.gz"
    image.parent.mkdir()
    nib.save(nib.Nifti1Image(phantom(0)[0], LAS), image)
    with pytest.raises(BundleError, match="the results would lie among the images"):
        inference_items(tmp_path / "in", tmp_path / output)
    with pytest.raises(BundleError, match="the results would lie among the images"):
        inference_items(tmp_path / "in" / "images", tmp_path / "in")


def test_a_label_map_that_is_older_than_its_image_is_made_again(tmp_path, caplog):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    output.mkdir()
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(phantom(0)[0], LAS), folder / f"{name}.nii.gz")
        (output / f"{name}.nii.gz").touch()
    assert inference_items(folder, output, skip_existing=True) == []
    nib.save(nib.Nifti1Image(phantom(1)[0], LAS), folder / "other.nii.gz")
    os.utime(folder / "other.nii.gz", (0, 0))
    (folder / "other.nii.gz").replace(folder / "b.nii.gz")
    assert [item["case"] for item in inference_items(folder, output, skip_existing=True)] == ["b"]
    assert "older than their images, and made again: b" in caplog.text


def test_a_conversion_that_cannot_be_written_is_no_verdict_on_the_volume(tmp_path):
    hu, _ = phantom(0)
    (tmp_path / "in").mkdir()
    image = nib.Nifti1Image(hu, LAS)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").touch()
    with pytest.raises(BundleError, match="cannot write the file"):
        inference_items(tmp_path / "in", tmp_path / "out")


def test_plain_pairs_count_as_fully_labelled():
    image = MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": "/somewhere/ct_7.nii.gz"})
    item = LocatedClassesd(CLASSES)({"image": image})
    assert item["case"] == "ct_7"
    assert item["located"].tolist() == [1, 1]
    item = LocatedClassesd(CLASSES)({"image": image, "case": "x", "not_located": ["spleen"]})
    assert item["case"] == "x"
    assert item["located"].tolist() == [0, 1]
    assert "not_located" not in item


def test_crop_margin_is_in_mm():
    affine = torch.diag(torch.tensor([2.0, 4.0, 5.0, 1.0]))
    label = MetaTensor(torch.zeros(1, 30, 30, 30), affine=affine)
    label[0, 10:12, 10:12, 1] = 1
    item = CropToLabeld(["image", "label"], "label", 10.0)({"image": label.clone(), "label": label})
    assert item["label"].shape == (1, 12, 6, 4)  # 5 + 2 + 5, 2 + 2 + 2 (2.5 rounds to even), 1 + 1 + 2
    assert item["image"].shape == item["label"].shape
    assert item["label"].affine[:3, 3].tolist() == [10.0, 32.0, 0.0]
    empty = MetaTensor(torch.zeros(1, 4, 4, 4), affine=affine)
    assert CropToLabeld("label", "label", 10.0)({"label": empty})["label"].shape == (1, 4, 4, 4)


def test_stored_label_replaces_the_cached_one(tmp_path):
    path = tmp_path / "x.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), LAS), path)
    store = LabelStore(tmp_path / "labels")
    transform = Compose([LoadImaged(["image", "label"], ensure_channel_first=True), StoredLabeld(store)])
    data = [{"image": str(path), "label": str(path), "case": "x", "located": torch.ones(2)}]
    dataset = CachedCases(data, transform, progress=False)
    assert torch.all(dataset[0]["label"] == 1)
    store.write(1, "x", np.full((4, 4, 4), 2), LAS)
    store.finish(1, ["x"])
    assert torch.all(dataset[0]["label"] == 2)
    assert torch.all(dataset.preprocessed(0)["label"] == 1)
    store.write(2, "x", np.zeros((4, 4, 5)), LAS)
    store.finish(2, ["x"])
    with pytest.raises(BundleError, match="corrected labels are of another grid"):
        StoredLabeld(store)(dataset.preprocessed(0))
    assert torch.all(StoredLabeld(None)(dataset.preprocessed(0))["label"] == 1)


def test_a_class_that_was_placed_is_located_and_one_that_nobody_trusts_is_not(tmp_path):
    store = LabelStore(tmp_path / "labels")
    item = {"label": torch.tensor([0, 1, 0, 0]).reshape(1, 4, 1, 1), "case": "x", "located": torch.zeros(3)}
    assert StoredLabeld(store)(item)["located"].tolist() == [0, 0, 0]
    store.write(1, "x", np.array([0, 1, 2, 0]).reshape(4, 1, 1), LAS)
    store.finish(1, ["x"])
    assert StoredLabeld(store)(item)["located"].tolist() == [0, 1, 0]
    assert item["located"].tolist() == [0, 0, 0], "the cached item stays what it is"


def test_prepare_batch():
    batch = {"image": torch.zeros(2, 1, 2, 2, 2), "label": torch.ones(2, 1, 2, 2, 2), "located": torch.ones(2, 3)}
    image, target = prepare_batch(batch, "cpu")
    assert image.shape == (2, 1, 2, 2, 2)
    assert set(target) == {"label", "located"}


def test_spacing_leaves_strings_alone():
    image = MetaTensor(
        torch.rand(1, 8, 8, 8), affine=torch.eye(4), meta={"filename_or_obj": "x.nii.gz", "affine": torch.eye(4)}
    )
    data = {"image": image, "image_path": "x.nii.gz", "image_meta_dict": {}}
    result = SafeSpacingd("image", (2.0, 2.0, 2.0))(data)
    assert result["image_path"] == "x.nii.gz"
    assert result["image"].shape == (1, 4, 4, 4)


def test_anti_alias_smooths_only_axes_made_coarser():
    image = torch.zeros(1, 9, 9, 9)
    image[0, 4, 4, 4] = 1
    meta = MetaTensor(image, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
    smooth = AntiAliasd("image", (3.0, 1.0, 3.0))({"image": meta})["image"]
    assert smooth[0, :, 4, 4].numpy() == pytest.approx(
        np.exp(-0.5 * np.arange(-4, 5) ** 2) / np.sqrt(2 * np.pi), abs=1e-4
    )
    assert smooth[0, 4, 3, 4] == 0
    assert smooth[0, 4, 4, 3] == 0
    assert torch.equal(AntiAliasd("image", (1.0, 1.0, 3.0))({"image": meta})["image"], meta)
