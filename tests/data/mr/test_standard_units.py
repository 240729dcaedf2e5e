"""An MR in standard units: two percentiles of the body say all, whatever the scale, the axes and the noise outside."""

import nibabel as nib
import numpy as np
import pytest

from scripts.data.intensity import body_mask
from scripts.data.mr.bias_field import log_bias_field
from scripts.data.mr.body import find_mr_body
from scripts.data.mr.standard_units import ANCHORS, BODY_PERCENTILES, OUTSIDE, _above_air, in_standard_units
from scripts.data.volume_io import Volume

AFFINE = np.array([[-2.0, 0, 0, 40], [0, 2, 0, -30], [0, 0, 7, 7], [0, 0, 0, 1]])  # LAS
SHAPE = (48, 40, 9)
LEVELS = (60.0, 200.0, 400.0)  # suppressed fat, organs, fluid


def torso():
    """Where the body is, and its magnitudes: fat around an organ around fluid, dark gas in the middle of one slice."""
    x, y, _ = np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in SHAPE), indexing="ij")
    radius = np.hypot(x / 20, y / 16)
    image = np.select([radius < 0.3, radius < 0.8, radius < 1], LEVELS[::-1], 0.0)
    image[22:26, 18:22, 4] = 0
    return radius < 1, image


def noisy(image, scale=1.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, 3, (2, *SHAPE))
    return (scale * np.hypot(image + noise[0], noise[1])).astype(np.float32)


def test_the_body_is_found_whatever_the_scale_and_its_dark_gas_belongs_to_it():
    body, image = torso()
    for scale in (0.001, 1.0, 50.0):
        found = find_mr_body(noisy(image, scale), (2.0, 2.0, 7.0)).mask
        assert found[22:26, 18:22, 4].all()
        assert 2 * (found & body).sum() / (found.sum() + body.sum()) > 0.93


def test_nothing_but_zeros_is_no_body():
    assert not find_mr_body(np.zeros(SHAPE, np.float32), (2.0, 2.0, 7.0)).mask.any()
    standard = in_standard_units(Volume(np.zeros(SHAPE, np.float32), AFFINE), True)
    assert (standard.array == OUTSIDE).all()


def test_percentiles_of_the_body_become_the_anchors_along_a_straight_line():
    _, image = torso()
    volume = Volume(noisy(image), AFFINE, ("a remark",))
    standard = in_standard_units(volume, bias_correction=False)
    inside = standard.array > OUTSIDE
    np.testing.assert_allclose(np.percentile(standard.array[inside], BODY_PERCENTILES), ANCHORS, atol=0.5)
    slope, offset = np.polyfit(volume.array[inside], standard.array[inside], 1)
    np.testing.assert_allclose(standard.array[inside], slope * volume.array[inside] + offset, atol=0.01)
    assert standard.remarks == volume.remarks and np.array_equal(standard.affine, AFFINE)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_a_mean_of_0_does_not_matter(bias_correction):
    _, image = torso()
    raw = noisy(image)
    plain = in_standard_units(Volume(raw, AFFINE), bias_correction).array
    shifted = in_standard_units(Volume((raw - raw.mean()) / raw.std(), AFFINE), bias_correction).array
    assert np.mean((plain > OUTSIDE) != (shifted > OUTSIDE)) < 0.01
    both = (plain > OUTSIDE) & (shifted > OUTSIDE)
    assert np.median(np.abs(plain - shifted)[both]) < 2


def test_noise_below_0_changes_nothing_but_itself():
    _, image = torso()
    raw = noisy(image) - 3
    assert raw.min() < 0
    np.testing.assert_array_equal(_above_air(raw), raw)


def test_scale_does_not_matter():
    _, image = torso()
    one = in_standard_units(Volume(noisy(image), AFFINE), False)
    other = in_standard_units(Volume(noisy(image, scale=40.0), AFFINE), False)
    np.testing.assert_allclose(one.array, other.array, atol=0.01)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_the_same_voxels_on_other_axes_are_the_same(bias_correction):
    _, image = torso()
    volume = Volume(noisy(image), AFFINE)
    turn = nib.orientations.axcodes2ornt("SPR")
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), turn)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    turned = in_standard_units(Volume(nib.apply_orientation(volume.array, turn), affine), bias_correction)
    straight = in_standard_units(volume, bias_correction)
    assert np.array_equal(turned.array, nib.apply_orientation(straight.array, turn))


def test_who_reads_it_as_ct_finds_the_same_body():
    _, image = torso()
    standard = in_standard_units(Volume(noisy(image), AFFINE), False)
    assert np.array_equal(body_mask(standard.array, standard.spacing_mm), standard.array > OUTSIDE)


def test_a_bias_field_is_divided_out():
    """A ramp of 0.7 to 1.3 along X; what N4 finds rises as its logarithm does."""
    body, image = torso()
    ramp = np.broadcast_to(np.linspace(0.7, 1.3, SHAPE[0], dtype=np.float32)[:, None, None], SHAPE)
    field = log_bias_field(Volume(noisy(image) * ramp, AFFINE), body, spacing_mm=4.0)
    slope, _ = np.polyfit(np.log(ramp[body]), field[body], 1)
    assert 0.7 < slope < 1.3
    flat = log_bias_field(Volume(noisy(image), AFFINE), body, spacing_mm=4.0)
    assert np.ptp(flat[body]) < 0.3 * np.ptp(field[body])
