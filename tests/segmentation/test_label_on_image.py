"""Label maps on the image's own grid, against MONAI's inversion of every logit."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd
from scipy import ndimage

from scripts.common import sampling
from scripts.common.boxes import slabs_of
from scripts.data.spacing_transforms import SafeSpacingd
from scripts.segmentation import label_on_image
from scripts.segmentation.label_on_image import LabelOnImaged, label_on_grid

SHAPE = (27, 22, 19)
CLOSE = 1e-4  # two logits between which rounding may decide


def smooth_logits(shape, classes=3, seed=0):
    noise = np.random.default_rng(seed).normal(size=(classes + 1, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 2))
    return (10 * smooth / smooth.std()).astype(np.float32)


def preprocessed(affine, margin):
    """An image on its network's grid, turned to RAS, at 3 x 2 x 2.5 mm and, with a margin, cropped; and the way there.

    Its bright part touches the end of the first axis: there the crop ends with the image.
    """
    array = torch.zeros(1, *SHAPE)
    array[:, 6:, 5:17, 6:14] = 1
    steps = [Orientationd("image", axcodes="RAS", labels=None), SafeSpacingd("image", (3.0, 2.0, 2.5))]
    if margin is not None:
        steps.append(CropForegroundd("image", source_key="image", margin=margin, allow_smaller=True))
    way = Compose(steps)
    meta = {"original_affine": affine, "spatial_shape": np.array(SHAPE)}
    return way({"image": MetaTensor(array, affine=torch.from_numpy(affine), meta=meta)}), way


def inverted(item, way, logits):
    """(1 + K, X, Y, Z) logits on the image's grid, as MONAI makes them."""
    pred = MetaTensor(torch.from_numpy(logits), affine=item["image"].affine)
    invert = Invertd("pred", way, orig_keys="image", nearest_interp=False, to_tensor=True)
    return invert({**item, "pred": pred})["pred"]


@pytest.fixture(params=[40, 2**24], ids=["slabs of a plane", "one slab"], autouse=True)
def _slabs(request, monkeypatch):
    for module in (sampling, label_on_image):
        monkeypatch.setattr(module, "slabs_of", partial(slabs_of, most_voxels=request.param))


def sheared():
    affine = np.diag([1.3, 0.9, 4.0, 1.0])
    affine[1, 2] = 0.8
    return affine


@pytest.mark.parametrize("margin", [None, 1])
@pytest.mark.parametrize("grid", ["RAS", "LPS", "SAR", "sheared"])
def test_labels_are_those_of_the_highest_inverted_logit(grid, margin, make_affine):
    affine = sheared() if grid == "sheared" else make_affine(grid, (1.3, 0.9, 4.0))
    item, way = preprocessed(affine, margin)
    logits = smooth_logits(item["image"].shape[1:])
    plain = inverted(item, way, logits)
    highest = torch.sort(plain, dim=0).values
    decided = (highest[-1] - highest[-2] > CLOSE) | (plain == 0).all(dim=0)
    label = LabelOnImaged("pred", {"a": 1, "b": 2, "c": 3}, keep_largest=False)({**item, "pred": logits})["pred"]
    assert label.dtype == torch.uint8 and label.shape == (1, *SHAPE)
    assert decided.float().mean() > 0.99 and len(label.unique()) == 4
    assert torch.equal(label[0][decided].long(), plain.argmax(dim=0)[decided])
    assert np.array_equal(label.affine, affine) and np.allclose(plain.affine, affine)


def test_parallel_axes_and_any_axes_give_the_same_labels():
    logits = smooth_logits((9, 8, 7))
    logits_affine, affine = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([0.7, -0.9, 3.1, 1.0])
    affine[:3, 3] = -3.0, 17.0, -2.5
    label = label_on_grid(logits, logits_affine, affine, SHAPE)
    to_logits = np.linalg.inv(logits_affine) @ affine
    everywhere = np.zeros(SHAPE, np.uint8)
    label_on_image._label_everywhere(logits, to_logits, everywhere)
    assert np.array_equal(label, everywhere) and set(np.unique(label)) == {0, 1, 2, 3}


def test_beyond_the_logits_theirs_hold_for_less_than_a_voxel():
    logits = np.stack([np.zeros((2, 1, 1)), np.ones((2, 1, 1))]).astype(np.float32)
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = -1.5
    assert label_on_grid(logits, np.eye(4), affine, (9, 1, 1)).ravel().tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    affine[0, 3] = 50.0
    assert not label_on_grid(logits, np.eye(4), affine, (9, 1, 1)).any(), "another place altogether"


def test_logits_are_looked_at_between_corners_of_several_classes_alone(monkeypatch):
    """A cube of 8 voxels on a grid four times as fine: between 9 voxels a side some corners are in it, of 7 all."""
    logits = np.zeros((2, 20, 20, 20), np.float32)
    logits[1] = -1
    logits[1, 6:14, 6:14, 6:14] = 1
    looked = []
    monkeypatch.setattr(
        label_on_image, "sample_at", lambda array, at: looked.append(len(at)) or sampling.sample_at(array, at)
    )
    label = label_on_grid(logits, np.eye(4), np.diag([0.25, 0.25, 0.25, 1.0]), (80, 80, 80))
    assert sum(looked) == 2 * 4**3 * (9**3 - 7**3)
    assert label.sum() == pytest.approx(32**3, rel=0.1)


def test_classes_get_their_values_and_their_largest_part(make_affine):
    item, _ = preprocessed(make_affine("RAS", (3.0, 2.0, 2.5)), None)
    logits = np.zeros((3, *SHAPE), np.float32)
    logits[0] = 1
    logits[1, 2:6, 2:6, 2:6] = logits[1, 10, 2, 2] = logits[2, 12:15, 3, 3] = 2
    for largest, voxels in ((True, 64), (False, 65)):
        step = LabelOnImaged("pred", {"liver": 7, "spleen": 4}, keep_largest=largest)
        label = step({**item, "pred": logits})["pred"].numpy()[0]
        assert [np.count_nonzero(label == value) for value in (7, 4, 1, 2)] == [voxels, 3, 0, 0]


def test_of_a_class_in_two_parts_no_stray_voxel_is_one(make_affine):
    item, _ = preprocessed(make_affine("RAS", (3.0, 2.0, 2.5)), None)
    logits = np.zeros((2, *SHAPE), np.float32)
    logits[0], logits[1, 2:5, 2:5, 2:5], logits[1, 8, 8, 3] = 1, 2, 2
    label = LabelOnImaged("pred", {"lungs": 7}, parts={"lungs": 2})({**item, "pred": logits})["pred"]
    assert np.count_nonzero(label.numpy()) == 27, "less than a quarter of the largest"


def test_a_class_in_two_parts_keeps_two_of_them(make_affine):
    item, _ = preprocessed(make_affine("RAS", (3.0, 2.0, 2.5)), None)
    logits = np.zeros((3, *SHAPE), np.float32)
    logits[0] = 1
    for channel in (1, 2):
        logits[channel, 2:6, channel * 4, 3] = logits[channel, 8:11, channel * 4, 3] = 2
        logits[channel, 13, channel * 4, 3] = 2
    step = LabelOnImaged("pred", {"lungs": 7, "spleen": 4}, parts={"lungs": 2})
    label = step({**item, "pred": logits})["pred"].numpy()[0]
    assert [np.count_nonzero(label == value) for value in (7, 4)] == [7, 4]


@pytest.mark.parametrize("oblique", [0.0, 0.1])
def test_memory_is_that_of_the_label_map_whatever_the_classes(oblique, monkeypatch):
    """Thirteen classes; a float for each voxel of one of them alone would take four times as much."""
    for module in (sampling, label_on_image):
        monkeypatch.setattr(module, "slabs_of", partial(slabs_of, most_voxels=2**14))
    logits, affine, shape = smooth_logits((12, 12, 12), classes=13), np.diag([0.11, 0.11, 0.11, 1.0]), (110, 110, 110)
    affine[1, 2] = oblique
    tracemalloc.start()
    try:
        label = label_on_grid(logits, np.eye(4), affine, shape)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(np.unique(label)) > 5
    assert label.nbytes < peak_bytes < 2.5 * label.nbytes
