from pathlib import Path

import numpy as np
import pytest

from bundle.pipeline.given.class_values import absent_classes, refuse_values_of_no_class, strokes_elsewhere
from scripts.common.errors import BundleError

CLASSES = {"spleen": 1, "left_kidney": 3, "liver": 6}
FILE = Path("b.nii.gz")


def said(*values):
    array = np.array(values).reshape(-1, 1, 1)
    return refuse_values_of_no_class(array, CLASSES, "b", FILE), absent_classes(array, CLASSES)


def test_what_is_odd_about_a_given_label_map_is_said():
    assert said(0, 1, 3, 6) == ([], [])
    assert said(1, 3, 6, 2, 4) == (["values that are of no class are not taken: 2, 4"], [])
    assert said(0, 1) == ([], ["no left_kidney, no liver in it: taken for true, and the other cases learn from it"])
    assert said(0)[0] == [], "an organ may be absent"


def test_a_label_map_that_is_numbered_in_another_way_is_refused():
    with pytest.raises(BundleError, match="no value of the label map is that of a class") as caught:
        said(0, 2, 4)
    assert (caught.value.case, caught.value.found) == ("b", "values 2, 4")
    assert caught.value.expected == "spleen 1, left_kidney 3, liver 6"


def test_strokes_that_lie_in_another_class_of_the_mask_or_in_none():
    strokes = np.array([1, 1, 1, 1, 3, 3, 6, 6, 14, 0])
    good = np.array([1, 1, 0, 0, 3, 3, 6, 6, 0, 0])
    assert strokes_elsewhere(good, strokes, CLASSES) == {}, "half of them are enough"
    numbered = np.array([6, 6, 6, 0, 3, 3, 1, 1, 0, 0])
    assert strokes_elsewhere(numbered, strokes, CLASSES) == {"spleen": "liver", "liver": "spleen"}
    moved = np.array([0, 0, 0, 1, 1, 6, 0, 0, 0, 0])
    assert strokes_elsewhere(moved, strokes, CLASSES) == dict.fromkeys(CLASSES)
