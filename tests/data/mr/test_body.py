"""The body of an MR with much air, little or none in its field."""

import numpy as np
import pytest
from scipy import ndimage

from scripts.data.mr.body import MUCH_LEFT_OUT, WHOLE_FIELD, find_mr_body
from scripts.data.mr.standard_units import OUTSIDE, in_standard_units
from scripts.data.volume_io import Volume

SPACING_MM = (1.5, 1.5, 3.0)
SHAPE = (120, 120, 24)
X, Y, _ = np.indices(SHAPE) - np.array([60, 60, 0])[:, None, None, None]
MUSCLE, PROSTATE = np.abs(X) > 30, (X / 18) ** 2 + (Y / 15) ** 2 <= 1
BLADDER = (X / 25) ** 2 + ((Y - 38) / 18) ** 2 <= 1
AIR = {0: 0, 5: 6, 10: 12, 25: 30}  # percent of the field -> rows


def pelvis(muscle, fat, prostate, rows_of_air=0, bladder=None, noise=8.0):
    """Magnitudes, and where tissue is: muscle left and right, a prostate in fat between, air in front."""
    image = np.full(SHAPE, float(fat))
    image[MUSCLE], image[PROSTATE] = muscle, prostate
    if bladder is not None:
        image[BLADDER & ~PROSTATE] = bladder
    image = ndimage.gaussian_filter(image, (0.7, 0.7, 0.3))
    image[:, :rows_of_air] = 0
    pair = np.random.default_rng(0).normal(0, noise, (2, *SHAPE))
    return np.hypot(image + pair[0], pair[1]).astype(np.float32), rows_of_air <= np.indices(SHAPE)[1]


@pytest.mark.parametrize("percent", AIR)
@pytest.mark.parametrize("bladder", [None, 1500.0])
@pytest.mark.parametrize("levels", [(80, 400, 220), (150, 300, 220), (200, 90, 240)], ids=str)
def test_all_tissue_is_body_however_little_air_there_is(levels, bladder, percent):
    image, tissue = pelvis(*levels, AIR[percent], bladder)
    found = find_mr_body(image, SPACING_MM)
    for part in (MUSCLE, PROSTATE, ~MUSCLE & ~PROSTATE):
        assert found.mask[part & tissue].mean() > 0.98
    if percent:
        assert found.mask[~tissue].mean() < 0.6 * 5 / percent  # what touches the skin is smoothed into it
    assert found.remarks == (() if percent else (WHOLE_FIELD,))


def test_nothing_is_destroyed_where_there_is_no_air_and_the_user_is_told():
    image, _ = pelvis(80, 400, 220)
    volume = Volume(image, np.diag([*SPACING_MM, 1.0]), ("a remark",))
    standard = in_standard_units(volume, bias_correction=False)
    assert (standard.array > OUTSIDE).all() and standard.remarks == ("a remark", WHOLE_FIELD)


def test_noise_does_not_pass_for_tissue_in_a_wide_field():
    image, _ = pelvis(200, 240, 220, noise=25.0)
    wide = np.zeros((200, 200, 24), np.float32)
    wide[40:160, 40:160] = image
    pair = np.random.default_rng(1).normal(0, 25.0, (2, *wide.shape))
    found = find_mr_body(np.where(wide > 0, wide, np.hypot(*pair)), SPACING_MM)
    assert found.mask[wide > 0].mean() > 0.98 and found.mask[wide == 0].mean() < 0.1 and not found.remarks


def test_two_breasts_apart_are_body():
    image = np.random.default_rng(0).rayleigh(5.0, SHAPE).astype(np.float32)
    breasts = np.hypot(np.abs(X) - 30, Y) < 20
    image[breasts] += 300
    assert find_mr_body(image, SPACING_MM).mask[breasts].mean() > 0.98


def test_much_dark_tissue_at_the_edge_of_a_wide_field_is_told():
    x, y, _ = np.indices((120, 120, 12)) - np.array([60, 60, 0])[:, None, None, None]
    image = np.random.default_rng(0).rayleigh(12.0, x.shape).astype(np.float32)
    image[np.hypot(x, y) < 42] = 70
    image[np.hypot(x, y) < 30] = 400
    found = find_mr_body(image, SPACING_MM)
    assert found.mask[np.hypot(x, y) > 34].mean() < 0.05 and found.remarks == (MUCH_LEFT_OUT,)
