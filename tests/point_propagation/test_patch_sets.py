import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import RandomizableTrait

from scripts.point_propagation.augmented_patches import PLAIN
from scripts.point_propagation.patch_sets import PatchSetsd, prepare_sets

SPACING_MM = (2.0, 4.0, 5.0)
PATCH = (8, 8, 4)
SHAPE = (20, 16, 12)


@pytest.fixture
def coded():
    """A volume whose value encodes its voxel (i, j, k), and a body that is a box."""
    i, j, k = np.indices(SHAPE)
    body = np.zeros((1, *SHAPE), np.uint8)
    body[:, 3:17, 2:14, 1:11] = 1
    return {"image": torch.as_tensor((1.0 + i * 256 + j * 16 + k) / 8192)[None], "body": body}


def draw(data, count=300, **settings):
    transform = PatchSetsd(PATCH, SPACING_MM, count, mask_boxes=0, augmentation=PLAIN, **settings)
    transform.set_random_state(seed=0)
    return transform(data)


def test_places_are_those_of_the_centres_in_mm(coded):
    drawn = draw(coded)
    codes = (drawn["patches"][:, 4, 4, 2] * 8192).round().long() - 1
    centres = torch.stack([codes // 256, codes // 16 % 16, codes % 16], dim=1)
    assert drawn["places_mm"].tolist() == (centres * torch.tensor(SPACING_MM)).tolist()
    assert centres.amin(0).tolist() == [3, 2, 1] and centres.amax(0).tolist() == [16, 13, 10], "all of the body"


def test_patches_are_zero_outside_the_body(coded):
    outside = draw({**coded, "body": np.zeros((1, *SHAPE), np.uint8)}, count=2)
    assert (outside["patches"] == 0).all() and outside["places_mm"].tolist() == [[20.0, 32.0, 30.0]] * 2


def test_no_two_places_of_a_set_are_further_apart_than_the_box(coded):
    box_mm = (12.0, 20.0, 23.0)  # 3, 2 and 2 whole voxels from the middle
    spans = []
    for seed in range(40):
        transform = PatchSetsd(PATCH, SPACING_MM, 30, box_mm=box_mm, mask_boxes=0, augmentation=PLAIN)
        places_mm = transform.set_random_state(seed=seed)(coded)["places_mm"]
        spans.append(places_mm.amax(0) - places_mm.amin(0))
    assert torch.stack(spans).amax(0).tolist() == [12.0, 16.0, 20.0]


def test_masks_are_in_the_input_alone(coded):
    transform = PatchSetsd((16, 8, 8), SPACING_MM, 4, mask_boxes=3, augmentation=PLAIN)
    drawn = transform.set_random_state(seed=0)({"image": torch.ones(1, *SHAPE), "body": np.ones((1, *SHAPE))})
    masked = (drawn["masked"] == 0) & (drawn["patches"] > 0)
    assert (masked.flatten(1).sum(dim=1) > 0).all()


def test_seeds(coded):
    transform = PatchSetsd(PATCH, SPACING_MM, 5)
    first, second = (transform(coded)["places_mm"] for _ in range(2))
    again = transform.set_random_state(seed=1)(coded), transform.set_random_state(seed=1)(coded)
    assert not torch.equal(first, second)
    assert all(torch.equal(again[0][key], again[1][key]) for key in again[0])
    assert isinstance(transform, RandomizableTrait), "CacheDataset must not cache the patches"


def test_batches_put_the_patches_of_a_volume_one_after_the_other(coded):
    transform = PatchSetsd(PATCH, SPACING_MM, 3)
    batch = next(iter(DataLoader(Dataset([coded, coded], transform), batch_size=2)))
    inputs, target = prepare_sets(batch, device="cpu", non_blocking=False)
    assert inputs.shape == target["patches"].shape == (6, 1, *PATCH) and target["places_mm"].shape == (2, 3, 3)
    assert torch.equal(inputs[3:, 0], batch["masked"][1]) and torch.equal(target["patches"][:3, 0], batch["patches"][0])
