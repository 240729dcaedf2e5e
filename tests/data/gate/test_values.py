"""Values that cannot be HU are told apart from those of odd but right CT."""

import re

import numpy as np
import pytest

from bundle.datasets.phantom.painter import make_phantom
from scripts.data.gate import values
from scripts.data.gate.values import judge_mr_values, judge_values
from scripts.data.volume_io import read_labels, read_volume
from tests.data.gate.bodies import BONE_HU, FAT_HU, LUNG_HU, MUSCLE_HU, SHAPE, chest, noise, painted, radius
from tests.fixtures.real_data import data

CHEST = chest()
RING = (radius() > 22) & (radius() < 25)


def rescaled(hu, low, high, top):
    return np.clip((hu - low) / (high - low), 0, 1) * top


ODD_BUT_RIGHT = {
    "chest": CHEST,
    "padding -2000": np.where(radius() > 25, -2000, CHEST),
    "padding -3024": np.where(radius() > 25, -3024, CHEST),
    "padding -32768": np.where(radius() > 25, -32768, CHEST),
    "metal 32767": np.where(radius() < 0.8, 32767, CHEST),
    "clipped as networks see it": np.clip(CHEST, -125, 275),
    "clipped to the old range of 10 bits": np.clip(CHEST, -1000, 1000),
    "slab of 8 voxels": CHEST[:, :, :8],
    "sagittal slab": CHEST[26:34],
    "noise of 80 HU": np.rint(CHEST + noise(1, 80)),
    "head": painted([(18, 35), (22, 1100), (24, 20)]),
    "leg": painted([(6, 1200), (14, MUSCLE_HU), (18, FAT_HU)]),
    "finger in a large field": painted([(3, MUSCLE_HU)]),
    "the same, padded": np.where(radius() > 25, -2000, painted([(3, MUSCLE_HU)])),
    "lung alone": painted([(3, MUSCLE_HU), (60, LUNG_HU)]),
    "water phantom": painted([(20, 0)]),
    "water alone, quiet": np.rint(noise(0, 3)),
    "water alone, as fractions": noise(0, 3),
    "phantom without noise": np.where(radius() < 20, 0.0, -1000),
    "liver alone": painted([(60, 110)]),
    "gall bladder in liver": painted([(12, 5), (60, 110)]),
    "aorta of an angiography": painted([(12, 500), (60, 50)]),
    "gas in contrasted bowel": painted([(5, -1000), (60, 130)]),
    "spine alone": np.where(radius() < 8, -30, BONE_HU) + noise(3, 250),
    "skull, with its fat": np.where(RING, 900 + noise(3, 300), painted([(22, 35)], outside=FAT_HU)),
    "fat alone": painted([(60, FAT_HU)]),
}

WRONG = {
    "without intercept": (CHEST + 1024, "water lies near 1024 instead of 0; .* or subtract 1024"),
    "air at 24": (np.maximum(CHEST + 1024, 0), "water lies near 1024"),
    "HU + 1000": (np.maximum(CHEST + 1000, 0), "water lies near 1024"),
    "without intercept, padded": (np.where(radius() > 25, -2000, CHEST + 1024), "water lies near 1024"),
    "unsigned with its zero in the middle": (CHEST + 32768, "subtract 32768"),
    "intercept twice": (CHEST - 1024, "or add 1024"),
    "wrapped": (CHEST % 65536, "subtract 65536"),
    "wrapped, padded": (np.where(radius() > 25, -2000, CHEST) % 65536, "subtract 65536"),
    "[0, 1]": (rescaled(CHEST, -1024, 1500, 1), "scaled to a small range"),
    "[-1, 1]": (rescaled(CHEST, -1024, 1500, 2) - 1, "scaled to a small range"),
    "mean 0, deviation 1": ((CHEST - CHEST.mean()) / CHEST.std(), "scaled to a small range"),
    "g/ml": (1 + CHEST / 1000, "scaled to a small range"),
    "a picture": (np.rint(rescaled(CHEST, -1024, 900, 255)), "0 to 255"),
    "a picture of a window": (np.rint(rescaled(CHEST, -160, 240, 255)), "0 to 255"),
    "inverted": (-CHEST, "inverted"),
    "inverted from the top": (CHEST.max() - CHEST, "inverted"),
    "inverted picture": (255 - np.rint(rescaled(CHEST, -1000, 900, 255)), "inverted"),
    "tenfold": (10 * CHEST, "divide them by 10"),
    "air": (painted([]), "no tissue"),
    "padding and three voxels": (np.where(np.arange(CHEST.size).reshape(SHAPE) < 3, 40, -1024), "no tissue"),
    "one label": (radius() < 9, "a label map or scribbles"),
    "thirteen labels": (np.floor(radius() / 3), "a label map or scribbles"),
    "a mask of 255": (255 * (radius() < 9), "a label map or scribbles"),
    "a stroke": ((radius() < 1) * 3, "a label map or scribbles"),
}


@pytest.mark.parametrize("name", ODD_BUT_RIGHT)
def test_odd_but_right_ct_is_good(name):
    assert judge_values(ODD_BUT_RIGHT[name].astype(np.float32)) is None


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_hu_is_not_usable(name):
    array, message = WRONG[name]
    finding = judge_values(array.astype(np.float32))
    assert finding is not None and not finding.usable
    assert re.search(message, finding.sentence)


def magnitude(seed):
    """(X, Y, Z) as MR is: noise outside, tissues of some hundreds."""
    body = np.where(radius() < 24, np.where(radius() < 10, 620, 240), 0)
    return np.rint(np.hypot(body + noise(seed, 9), noise(seed + 1, 9)))


@pytest.mark.parametrize("array", [magnitude(0), 3 * magnitude(1), 40 * magnitude(2), np.maximum(CHEST, 0)])
def test_mr_and_the_like_is_used_with_a_warning(array):
    assert judge_values(array.astype(np.float32)) is values.MR_LIKE


@pytest.mark.parametrize(("low", "high"), [(0, 80), (-50, 150), (-1000, 100), (-20, 400)])
def test_a_window_that_cuts_into_soft_tissue_is_used_with_a_warning(low, high):
    body = painted([(8, BONE_HU), (20, MUSCLE_HU), (24, FAT_HU)])
    finding = judge_values(np.clip(body, low, high).astype(np.float32))
    if (low, high) == (-20, 400):  # nothing tells it from MR but its background
        assert finding is not None and finding.usable
    else:
        assert f"clipped to {low} to {high}" in finding.sentence and finding.usable


@pytest.mark.parametrize("seed", [0, 1])
def test_phantoms_of_the_demo_are_good(seed):
    phantom = make_phantom(seed, (6.0, 6.0, 6.0))
    assert judge_values(phantom.hu.astype(np.float32)) is None
    assert judge_values(np.maximum(phantom.hu + 1024, 0).astype(np.float32)) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cohort", "expected"), [("abdomen_ct", None), ("headneck_ct", None), ("abdomen_mr", values.MR_LIKE)]
)
def test_real_volumes(cohort, expected):
    for file in sorted((data(cohort) / "images").glob("*.nii.gz"))[::6]:
        assert judge_values(read_volume(file).array) is expected, file.name
    for file in sorted((data(cohort) / "labels").glob("*.nii.gz"))[::6]:
        assert judge_values(read_labels(file).array) is values.LABEL_MAP, file.name


def test_mr_that_is_scaled_within_a_mask_has_dark_tissue_that_looks_like_air():
    image, body = magnitude(0), radius() < 24
    scaled = (image - image[body].mean()) / image[body].std()
    assert judge_mr_values(np.where(body, scaled, 0).astype(np.float32)) is values.MASKED
    assert not values.MASKED.usable
    for good in (scaled, np.clip(scaled, None, 1), np.where(body, scaled, scaled.min())):
        assert judge_mr_values(good.astype(np.float32)) is None


def test_of_mr_only_values_far_below_zero_are_odd():
    for array in (magnitude(0), magnitude(0) / 700, magnitude(0) - 5, np.clip(magnitude(1), 0, 255)):
        assert judge_mr_values(array.astype(np.float32)) is None
    assert judge_mr_values(CHEST.astype(np.float32)) is values.CT_LIKE
    assert judge_mr_values(np.clip(CHEST, -125, 275).astype(np.float32)) is values.CT_LIKE
    assert judge_mr_values((CHEST > 0).astype(np.float32)) is values.LABEL_MAP
