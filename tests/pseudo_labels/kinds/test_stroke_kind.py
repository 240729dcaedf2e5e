from dataclasses import replace

import numpy as np
import pytest

from scripts.pseudo_labels.kinds.radial_profile import RadialProfile
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings, StrokeShape, kind_of, stroke_shape

BLOB = StrokeShape(
    length_mm=60,
    width_mm=25,
    widest_mm=30,
    brightness=0.6,
    contrast=0.1,
    border=0.55,
    alike_share=0.3,
    stroked_slices=4,
)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, Kind.BLOB),
        ({"length_mm": 75}, Kind.TUBE),
        ({"length_mm": 93, "width_mm": 31}, Kind.BLOB),
        ({"length_mm": 75, "widest_mm": 60}, Kind.TUBE),
        ({"length_mm": 75, "widest_mm": 61}, Kind.BLOB),
        ({"length_mm": 75, "stroked_slices": 2}, Kind.BLOB),
        ({"length_mm": 75, "alike_share": 0.9}, Kind.BLOB),
        ({"brightness": 0.85, "contrast": 0.3}, Kind.BONE),
        ({"brightness": 0.8, "contrast": 0.3}, Kind.BLOB),
        ({"brightness": 0.85, "contrast": 0.2}, Kind.BLOB),
        ({"contrast": -0.3}, Kind.HOLLOW),
        ({"contrast": -0.3, "length_mm": 75}, Kind.TUBE),
    ],
)
def test_kinds(changed, kind):
    assert kind_of(replace(BLOB, **changed), KindSettings()) is kind


def test_where_intensities_are_no_hounsfield_units_there_is_neither_bone_nor_air():
    of_mr = KindSettings(by_hounsfield=False)
    for bright_or_dark in (0.5, -0.5):
        shape = replace(BLOB, brightness=0.9, contrast=bright_or_dark)
        assert kind_of(shape, KindSettings()) in (Kind.BONE, Kind.HOLLOW) and kind_of(shape, of_mr) is Kind.BLOB


def test_the_shape_of_strokes():
    """Strokes of 3 and 5 voxels of 2 mm on slices 2 and 6 of 5 mm; a second one of 1 voxel beside them."""
    strokes = np.zeros((40, 40, 9), dtype=bool)
    strokes[10:13, 20, 2] = strokes[10:15, 20, 6] = strokes[30, 20, 6] = True
    image = np.where(strokes, 0.9, 0.3)
    shape = stroke_shape(image, strokes, RadialProfile(3.0, 0.25), (2.0, 2.0, 5.0), limit_mm=20.0)
    assert shape.length_mm == 8 * 5.0, "four slices, and two beyond either end"
    assert shape.width_mm == 4.0 + 2 * 3.0, "the median of 4, 8 and 0 mm, and the reach on both sides"
    assert shape.widest_mm == 40.0 + 2 * 3.0, "from voxel 10 to 30 of slice 6"
    assert (shape.brightness, shape.contrast, shape.border) == pytest.approx((0.9, 0.6, 0.6))
    assert (shape.alike_share, shape.stroked_slices) == (0.25, 2)
