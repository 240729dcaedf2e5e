"""Hounsfield normalisation and body mask."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd

from scripts.data import intensity
from scripts.data.intensity import BodySelector, NormaliseHUd, body_mask, normalise_hu


def test_knots_and_middles_are_mapped_linearly():
    hu = np.array([-3000, -500, -300, -100, 50, 200, 850, 1500, 3071])
    result = normalise_hu(hu)
    np.testing.assert_allclose(result, [0, 0, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1], atol=1e-7)
    assert result.dtype == np.float32


def test_transform_keeps_affine_and_other_keys(make_affine):
    affine = make_affine("LAS", (1, 2, 3))
    image = MetaTensor(torch.full((1, 2, 2, 2), 50.0), affine=torch.as_tensor(affine))
    result = NormaliseHUd(keys="image")({"image": image, "case": "a"})
    assert isinstance(result["image"], MetaTensor) and result["case"] == "a"
    np.testing.assert_array_equal(result["image"].affine, affine)
    np.testing.assert_allclose(result["image"].numpy(), 0.5, atol=1e-6)
    np.testing.assert_array_equal(image.numpy(), 50.0)


def torso(air, lung, fat):
    """Fat disc with a muscle core and a lung in it, a thin table below; and where the body truly is."""
    x, y, _ = np.indices((40, 40, 6))
    radius = np.hypot(x - 20, y - 22)
    hu = np.full(x.shape, air, np.float32)
    hu[radius < 14] = fat
    hu[radius < 10] = 40
    hu[radius < 5] = lung
    hu[:, 3, :] = 300
    return hu, radius < 14


@pytest.mark.parametrize(
    ("air", "lung", "fat"), [(-1000, -800, -100), (-1024, -1024, -90), (-125, -125, -105), (-3024, -850, -100)]
)
def test_body_without_table_and_with_lungs_whatever_air_is(air, lung, fat):
    hu, body = torso(air, lung, fat)
    mask = body_mask(hu)
    assert mask.dtype == bool
    assert not mask[:, 3].any()
    assert 2 * np.count_nonzero(mask & body) / (mask.sum() + body.sum()) > 0.99
    assert mask[20, 22].all()


def test_table_touching_the_skin_is_cut_off_at_fine_spacing():
    hu, body = torso(-1000, -800, -100)
    hu[:, 7:9, :] = 100  # 2 voxels of 2 mm, thinner than a table, just below the skin
    mask = body_mask(hu, (2.0, 2.0, 2.0))
    assert not mask[:5, 7:9].any()
    assert mask[body].mean() > 0.97


def test_clipped_air_with_fat_at_the_clipping_value_is_closed_by_the_skin():
    hu, body = torso(-125, -125, -125)
    radius = np.hypot(*(np.indices((40, 40)) - np.array([20, 22])[:, None, None]))
    hu[(radius < 14) & (radius > 12.5)] = 0  # skin
    assert body_mask(hu)[body].mean() > 0.99


def test_nothing_but_air_gives_an_empty_mask():
    hu = np.full((10, 10, 10), -1000.0, np.float32)
    hu[5, 5, 5] = -990
    assert not body_mask(hu).any()


@pytest.mark.parametrize("air", [-1000.0, -125.0])
def test_the_body_s_box_is_cropped_and_put_back(air):
    hu = np.full((1, 40, 40, 10), air, dtype=np.float32)
    hu[0, 10:30, 12:28] = 40.0
    image = MetaTensor(torch.from_numpy(normalise_hu(hu)), affine=torch.eye(4))
    crop = Compose([CropForegroundd("image", source_key="image", select_fn=BodySelector((4.0, 4.0, 4.0)))])
    cropped = crop({"image": image})
    assert cropped["image"].shape == (1, 20, 16, 10)
    cropped["pred"] = MetaTensor(torch.ones(1, 20, 16, 10))
    back = Invertd("pred", crop, orig_keys="image")(cropped)["pred"]
    assert back.shape == image.shape and (back[0] > 0).sum() == 20 * 16 * 10 and (back[0, 10:30, 12:28] > 0).all()


def test_without_a_body_nothing_is_cropped():
    assert BodySelector((4.0, 4.0, 4.0))(np.zeros((1, 3, 4, 5), np.float32)).shape == (1, 3, 4, 5)
    assert BodySelector((4.0, 4.0, 4.0))(np.zeros((1, 3, 4, 5), np.float32)).all()


@pytest.mark.parametrize("cohort", ["abdomen_ct", "headneck_ct"])
def test_real_support_lies_in_its_body_mask(cohort, request):
    folder = request.config.rootpath.parent / "shared" / "data" / cohort
    if not folder.is_dir():
        pytest.skip(f"real CT is not on this machine: {folder}")
    case = {"abdomen_ct": "abd_20", "headneck_ct": "han_00"}[cohort]
    step = (slice(None, None, 4), slice(None, None, 4), slice(None, None, 2))
    image = nib.load(folder / "images" / f"{case}.nii.gz")
    hu = np.asarray(image.dataobj, dtype=np.float32)[step]
    label = np.asarray(nib.load(folder / "labels" / f"{case}.nii.gz").dataobj)[step]
    mask = body_mask(hu, np.array(image.header.get_zooms()) * (4, 4, 2))
    assert mask[label > 0].mean() > 0.99
    assert mask.mean() < 0.8


def test_a_volume_in_parts_is_normalised_as_a_whole_one(monkeypatch):
    hu = np.random.default_rng(0).normal(0, 600, (7, 6, 5)).astype(np.float32)
    whole = np.interp(hu, intensity.HU_KNOTS, intensity.NORMALISED_KNOTS).astype(np.float32)
    monkeypatch.setattr(intensity, "PART_VOXELS", 16)
    for turned, expected in ((hu, whole), (hu.T, whole.T), (hu[::-1, :, ::2], whole[::-1, :, ::2])):
        assert np.array_equal(normalise_hu(turned), expected)
    assert float(normalise_hu(np.array(50))) == pytest.approx(0.5) and normalise_hu(hu[:0]).shape == (0, 6, 5)
