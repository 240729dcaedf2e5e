from pathlib import Path

import numpy as np
import pytest

from bundle.pipeline.given.class_values import absent_classes, refuse_values_of_no_class
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
