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


def test_without_a_seed_in_it_a_mask_stays():
    assert (opened_by_reconstruction(ORGAN, OTHER & ~BAR, SPACING_MM, 7, 0.5) == ORGAN).all(), "no seed in the mask"


def test_an_organ_cut_off_by_the_volume_stays():
    half = ball((28, 30, 0), 20)
    assert (
        opened_by_reconstruction(half, ball((28, 30, 0), 3), SPACING_MM, radius_mm=7, share=0.5) == half
    ).mean() > 0.99
