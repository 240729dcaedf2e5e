"""Distances to each class's seeds, and the nearest class, on volumes whose right answer is known."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from scripts.common import sampling
from scripts.common.boxes import slabs_of
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.sampling import onto_grid
from scripts.pseudo_labels import geodesic_labels
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.geodesic_labels import (
    class_distances,
    finer_label,
    nearest_class,
    open_box,
)
from scripts.pseudo_labels.settings import GeodesicSettings

SPACING_MM = (1.0, 2.0, 3.0)


def seeds_at(shape, *groups):
    seeds = np.zeros((len(groups), *shape), dtype=bool)
    for channel, voxels in enumerate(groups):
        for voxel in voxels:
            seeds[(channel, *voxel)] = True
    return seeds


def blocks():
    """Two bright blocks in a dark volume, with their channels."""
    truth = np.zeros((12, 10, 8), dtype=np.uint8)
    truth[1:5, 2:8, 2:6], truth[7:11, 2:8, 2:6] = 1, 2
    return np.where(truth > 0, 0.8, 0.2).astype(np.float32), truth


def label_of(image, seeds, spacing_mm, **settings):
    return nearest_class(class_distances(image, seeds, spacing_mm, GeodesicSettings(**settings))).label


def test_each_block_goes_to_its_seed_and_the_rest_to_background():
    image, truth = blocks()
    seeds = seeds_at(image.shape, [(0, 0, 0)], [(2, 4, 3)], [(9, 5, 4)])
    distances = class_distances(image, seeds, SPACING_MM, GeodesicSettings())
    assert distances.dtype == np.float32 and distances.shape == (3, 12, 10, 8) and distances.max() <= 1.0
    label = nearest_class(distances).label
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, truth)


def test_memory_that_is_short_is_told_before_it_is_taken(monkeypatch):
    """Three channels of 4 bytes: 960 voxels, and twice the box of 288 around all but background seeds, with a rim."""
    image, _ = blocks()
    seeds = seeds_at(image.shape, [], [(2, 4, 3)], [(9, 5, 4)])
    seeds[0] = True
    seeds[0, 2:8, 2:6, 2:6] = False  # 6 x 4 x 4 and a voxel on every side: 8 x 6 x 6
    needed = 4 * 3 * (960 + 2 * 288)
    monkeypatch.setattr(geodesic_labels, "available_memory", lambda: needed)
    assert class_distances(image, seeds, SPACING_MM, GeodesicSettings()).shape == seeds.shape
    monkeypatch.setattr(geodesic_labels, "available_memory", lambda: needed - 1)
    words = r"2 classes on 12 x 10 x 8 voxels take more than 0\.0 GB, 0\.0 GB are free"
    with pytest.raises(BundleError, match="memory is short") as caught, blamed("label_fusion", "a", "--small"):
        class_distances(image, seeds, SPACING_MM, GeodesicSettings())
    assert re.search(words, caught.value.found) and (caught.value.case, caught.value.expected) == ("a", "--small")


@pytest.mark.parametrize("seed", range(4))
def test_far_background_seeds_need_no_look(seed):
    generator = np.random.default_rng(seed)
    image = generator.random((14, 12, 10)).astype(np.float32)
    seeds = np.zeros((3, *image.shape), dtype=bool)
    seeds[0] = True
    seeds[0, 4:10, 3:9, 2:8] = generator.random((6, 6, 6)) < 0.1
    seeds[1, 5, 5, 4], seeds[2, 8, 6, 5] = True, True
    seeds[0] &= ~seeds[1:].any(axis=0)
    assert open_box(seeds) == (slice(3, 11), slice(2, 10), slice(1, 9))
    cropped = class_distances(image, seeds, SPACING_MM, GeodesicSettings(truncation=8.0))
    whole = geodesic_distance(image, seeds, SPACING_MM, truncation=8.0, tolerance=0.08).numpy()
    label = nearest_class(whole).label
    assert len(np.unique(label)) == 3
    np.testing.assert_array_equal(nearest_class(cropped).label, label)
    np.testing.assert_array_equal(cropped[0], whole[0])


def test_a_class_without_seed_stays_absent():
    image, _ = blocks()
    seeds = seeds_at(image.shape, [(0, 0, 0)], [(2, 4, 3)], [])
    distances = class_distances(image, seeds, (1, 1, 1), GeodesicSettings())
    assert set(np.unique(nearest_class(distances).label)) == {0, 1}
    np.testing.assert_array_equal(distances[2], 1.0)


def test_without_background_seeds_what_is_far_from_all_classes_is_background():
    image, truth = blocks()
    seeds = seeds_at(image.shape, [], [(2, 4, 3)], [(9, 5, 4)])
    # a border step costs 2 mm * 0.6 = 1.2, above the truncation
    np.testing.assert_array_equal(label_of(image, seeds, (2.0, 2.0, 2.0)), truth)


def test_ties_go_to_background():
    image = np.zeros((5, 1, 1), dtype=np.float32)
    seeds = seeds_at(image.shape, [(0, 0, 0)], [(4, 0, 0)])
    assert label_of(image, seeds, (1, 1, 1), lam=0.0, truncation=10.0).ravel().tolist() == [0, 0, 0, 1, 1]
    near = label_of(image, seeds, (1, 1, 1), lam=0.0, truncation=1.0)
    assert near.ravel().tolist() == [0, 0, 0, 0, 1], "at the truncation all affinities are zero"


def test_the_nearest_class_the_first_of_equals_and_the_next_one():
    distances = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 5.0, 4.0], [2.0, 7.0, 2.0, 0.5]]).reshape(3, 4, 1, 1)
    label, nearest, second = nearest_class(iter(distances))
    assert label.ravel().tolist() == [1, 0, 0, 0]
    assert nearest.ravel().tolist() == [1.0, 1.0, 2.0, 0.0]
    assert second.ravel().tolist() == [2.0, 1.0, 2.0, 0.5]
    np.testing.assert_array_equal(distances[0].ravel(), [3.0, 1.0, 2.0, 0.0], err_msg="the distances stay")


@pytest.mark.parametrize("slab_voxels", [50, 2**24])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_a_finer_label_is_that_of_distances_made_finer_everywhere(slab_voxels, margin, monkeypatch):
    """Smooth random distances of three classes; the grid reaches beyond the first ones on all sides."""
    monkeypatch.setattr(sampling, "slabs_of", partial(slabs_of, most_voxels=slab_voxels))
    noise = np.random.default_rng(0).random((3, 7, 6, 5))
    distances = np.stack([ndimage.gaussian_filter(channel, 1) for channel in noise]).astype(np.float32)
    to_coarse, shape = np.diag([0.4, 0.5, 0.3, 1.0]), (20, 14, 19)
    to_coarse[:3, 3] = -0.6, -0.2, -0.3
    plain = nearest_class(onto_grid(distance, to_coarse, shape, order=1) for distance in distances)
    label, undecided = finer_label(distances, to_coarse, shape, margin, truncation=1.0)
    assert np.array_equal(label, plain.label) and len(np.unique(label)) == 3
    close = (plain.second - plain.nearest < margin) & (plain.nearest < 1)
    assert sorted(undecided.tolist()) == np.flatnonzero(close).tolist()
