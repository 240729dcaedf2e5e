"""Two balls joined by a bar, on voxels of 2 x 2 x 4 mm."""

import numpy as np
import pytest

from scripts.common.overlap import dice_of
from scripts.pseudo_labels.opening_by_reconstruction import opened_by_reconstruction

SPACING_MM = (2.0, 2.0, 4.0)


def ball(centre_mm, radius_mm, shape=(60, 30, 15)):
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, SPACING_MM, strict=True)), indexing="ij"))
    return np.sqrt(((places - np.reshape(centre_mm, (3, 1, 1, 1))) ** 2).sum(axis=0)) <= radius_mm


ORGAN, OTHER = ball((28, 30, 28), 20), ball((88, 30, 28), 20)
BAR = np.zeros_like(ORGAN)
BAR[14:44, 13:18, 6:9] = True  # 10 mm wide
SEED = ball((28, 30, 28), 3)


def test_what_hangs_on_by_a_narrow_passage_goes():
    opened = opened_by_reconstruction(ORGAN | BAR | OTHER, SEED, SPACING_MM, radius_mm=7, share=0.5)
    assert not (opened & OTHER & ~BAR).any()
    assert dice_of(opened, ORGAN) > 0.97


def test_a_wide_passage_stays():
    both = ORGAN | OTHER | np.roll(BAR, 1, axis=1) | ball((58, 30, 28), 20)
    assert (opened_by_reconstruction(both, SEED, SPACING_MM, radius_mm=7, share=0.5) == both).mean() > 0.99


def test_a_small_organ_is_measured_by_its_own_depth():
    small = ball((28, 30, 28), 8)
    assert dice_of(opened_by_reconstruction(small, SEED, SPACING_MM, radius_mm=7, share=0.5), small) == pytest.approx(
        1, abs=0.05
    )


def test_on_thick_slices_a_leak_is_cut_where_it_is_on_thin_ones():
    """A ball of 20 mm and a bar 7 mm wide, 15 mm high and 30 mm long: one voxel of it stays, which is 1 mm in-plane."""

    def reach_mm(slice_mm):
        spacing_mm = np.array([1.0, 1.0, slice_mm])
        shape = (90, 60, round(60 / slice_mm))
        x, y, z = (
            (np.arange(n) - n / 2 + 0.5).reshape([-1 if axis == k else 1 for k in range(3)]) * s
            for axis, (n, s) in enumerate(zip(shape, spacing_mm, strict=True))
        )
        organ = (x + 20) ** 2 + y**2 + z**2 <= 20**2
        bar = (x > -10) & (x < 30) & (abs(y) <= 3.5) & (abs(z) <= 7.5)
        seeds = (x + 20) ** 2 + y**2 + z**2 <= 8**2
        opened = opened_by_reconstruction(organ | bar, seeds, spacing_mm, radius_mm=7, share=0.5)
        return np.broadcast_to(x, opened.shape)[opened].max()

    assert reach_mm(1.0) <= 2.5 and reach_mm(5.0) <= 2.5 and reach_mm(10.0) <= 2.5


def test_without_a_seed_in_it_a_mask_stays():
    assert (opened_by_reconstruction(ORGAN, OTHER & ~BAR, SPACING_MM, 7, 0.5) == ORGAN).all(), "no seed in the mask"


def test_an_organ_cut_off_by_the_volume_stays():
    half = ball((28, 30, 0), 20)
    assert (
        opened_by_reconstruction(half, ball((28, 30, 0), 3), SPACING_MM, radius_mm=7, share=0.5) == half
    ).mean() > 0.99
