import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import RandomizableTrait

from scripts.point_propagation.patch_pairs import PatchPairsd, prepare_pairs

SPACING_MM = (2.0, 4.0, 5.0)
PATCH = (8, 8, 4)
SHAPE = (20, 16, 12)


@pytest.fixture
def coded():
    """A volume whose value encodes its voxel (i, j, k), and a body that is a box."""
    i, j, k = np.indices(SHAPE)
    body = np.zeros((1, *SHAPE), np.uint8)
    body[:, 3:17, 2:14, 1:11] = 1
    return {"image": torch.as_tensor(1.0 + i * 10000 + j * 100 + k)[None], "body": body}


def centres(pair):
    """The voxels the two patches were cut around."""
    code = pair["patches"][:, PATCH[0] // 2, PATCH[1] // 2, PATCH[2] // 2].round().long() - 1
    return torch.stack([code // 10000, code // 100 % 100, code % 100], dim=1)


def draw(data, count=300, **settings):
    transform = PatchPairsd(PATCH, SPACING_MM, pairs_per_volume=count, mask_boxes=0, **settings)
    transform.set_random_state(seed=0)
    return transform(data)


def test_coarse_pairs_lie_anywhere_in_the_body(coded):
    pairs = draw(coded)
    drawn = torch.stack([centres(pair) for pair in pairs])
    assert coded["body"][0][tuple(drawn.reshape(-1, 3).T)].all()
    for end in (0, 1):
        assert drawn[:, end].amin(0).tolist() == [3, 2, 1] and drawn[:, end].amax(0).tolist() == [16, 13, 10]


def test_offset_is_that_of_the_centres(coded):
    for pair in draw(coded, count=20):
        first, second = centres(pair)
        assert pair["offset_mm"].tolist() == ((first - second) * torch.tensor(SPACING_MM)).tolist()


def test_fine_pairs_stay_in_the_box_in_mm(coded):
    box_mm = (6.0, 9.0, 10.0)  # 3, 2 and 2 whole voxels
    pairs = draw(coded, count=600, box_mm=box_mm)
    drawn = torch.stack([centres(pair) for pair in pairs])
    steps = (drawn[:, 1] - drawn[:, 0]).abs()
    assert steps.amax(0).tolist() == [3, 2, 2]
    assert coded["body"][0][tuple(drawn.reshape(-1, 3).T)].all(), "the second centre lies in the body too"
    limit = torch.tensor(box_mm)
    assert all((pair["offset_mm"].abs() <= limit).all() for pair in pairs)


def test_patches_at_the_border_are_padded_with_zeros(coded):
    coded["body"][:] = 0
    coded["body"][0, 0, 0, 0] = 1
    (pair,) = draw(coded, count=1, box_mm=(6, 9, 10))
    assert pair["offset_mm"].tolist() == [0, 0, 0]
    assert (pair["patches"][:, :4] == 0).all() and (pair["patches"][:, 4:, 4:, 2:] > 0).all()


def test_patches_of_the_body_alone(coded):
    whole, inside = (draw(coded, count=5, body_only=body_only) for body_only in (False, True))
    body = torch.as_tensor(coded["body"]) > 0
    shown = draw({**coded, "image": body.float()}, count=5)
    for pair, masked, mask in zip(whole, inside, shown, strict=True):
        assert torch.equal(masked["patches"], pair["patches"] * mask["patches"])
    assert any((pair["patches"] != masked["patches"]).any() for pair, masked in zip(whole, inside, strict=True))


def test_empty_body_does_not_hang(coded):
    coded["body"][:] = 0
    (pair,) = draw(coded, count=1)
    assert centres(pair).tolist() == [[10, 8, 6], [10, 8, 6]]


def test_masks_zero_something_in_every_patch_and_not_in_the_target():
    data = {"image": torch.ones(1, 30, 30, 30), "body": np.zeros((1, 30, 30, 30), np.uint8)}
    data["body"][0, 10:20, 10:20, 10:20] = 1  # patches stay inside, so every zero comes from a mask
    transform = PatchPairsd((16, 16, 16), SPACING_MM, pairs_per_volume=60)
    transform.set_random_state(seed=0)
    pairs = transform(data)
    shares = np.array([(pair["masked"] == 0).flatten(1).float().mean(dim=1).numpy() for pair in pairs])
    box = (1 / 4) ** 3
    assert shares.min() >= box and shares.max() <= 15 * box and len(np.unique(shares)) > 20
    assert all((pair["patches"] == 1).all() for pair in pairs)
    zeros = torch.stack([pair["masked"] == 0 for pair in pairs])
    reached = zeros.flatten(0, 1).any(dim=0)
    assert reached.any(2).any(1).all() and reached.any(2).any(0).all() and reached.any(1).any(0).all()
    assert not torch.equal(zeros[:, 0], zeros[:, 1]), "the two patches are masked independently"


def test_mask_boxes_is_the_largest_number(coded):
    one = PatchPairsd((16, 8, 8), SPACING_MM, pairs_per_volume=30, mask_boxes=1)
    data = {"image": torch.ones(1, 40, 30, 30), "body": np.ones((1, 40, 30, 30))}
    data["body"][0, :8] = data["body"][0, -8:] = data["body"][0, :, :4] = data["body"][0, :, -4:] = 0
    data["body"][..., :4] = data["body"][..., -4:] = 0
    assert {int((patch == 0).sum()) for pair in one(data) for patch in pair["masked"]} == {4 * 2 * 2}
    half = PatchPairsd((16, 8, 8), SPACING_MM, pairs_per_volume=5, mask_boxes=1, mask_box_share=0.5)
    assert {int((patch == 0).sum()) for pair in half(data) for patch in pair["masked"]} == {8 * 4 * 4}
    off = PatchPairsd(PATCH, SPACING_MM, pairs_per_volume=1, mask_boxes=0)
    (pair,) = off(coded)
    assert torch.equal(pair["masked"], pair["patches"])


def test_seeds(coded):
    def offsets(transform):
        return torch.stack([pair["offset_mm"] for pair in transform(coded)])

    fixed = PatchPairsd(PATCH, SPACING_MM, pairs_per_volume=5, fixed_seed=7)
    assert torch.equal(offsets(fixed), offsets(fixed)), "validation draws the same pairs every time"
    free = PatchPairsd(PATCH, SPACING_MM, pairs_per_volume=5)
    first, second = offsets(free.set_random_state(seed=1)), offsets(free)
    assert not torch.equal(first, second)
    assert torch.equal(first, offsets(free.set_random_state(seed=1)))
    assert isinstance(free, RandomizableTrait), "CacheDataset must not cache the pairs"


def test_batches_put_patch_0_of_every_pair_first(coded):
    transform = PatchPairsd(PATCH, SPACING_MM, pairs_per_volume=2)
    batch = next(iter(DataLoader(Dataset([coded, coded], transform), batch_size=2)))
    assert batch["patches"].shape == (4, 2, *PATCH)
    inputs, target = prepare_pairs(batch, device="cpu", non_blocking=False)
    assert inputs.shape == (8, 1, *PATCH) and target["offset_mm"].shape == (4, 3)
    assert torch.equal(inputs[:4, 0], batch["masked"][:, 0]) and torch.equal(inputs[4:, 0], batch["masked"][:, 1])
    assert torch.equal(target["patches"][:4, 0], batch["patches"][:, 0])
    assert torch.equal(target["patches"][4:, 0], batch["patches"][:, 1])
