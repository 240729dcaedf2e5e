from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.pipeline import default_mode
from bundle.pipeline.given.class_values import (
    absent_classes,
    classes_elsewhere,
    exchanged_classes,
    refuse_values_of_no_class,
)
from bundle.pipeline.settings import RunSettings
from scripts.common.errors import BundleError
from scripts.common.files import write_nifti
from scripts.common.work_folder import WorkFolder
from tests.prnet_fixtures import make_cohort

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
    assert classes_elsewhere(good, strokes, CLASSES) == {}, "half of them are enough"
    numbered = np.array([6, 6, 6, 0, 3, 3, 1, 1, 0, 0])
    assert classes_elsewhere(numbered, strokes, CLASSES) == {"spleen": "liver", "liver": "spleen"}
    moved = np.array([0, 0, 0, 1, 1, 6, 0, 0, 0, 0])
    assert classes_elsewhere(moved, strokes, CLASSES) == dict.fromkeys(CLASSES)


def test_an_accepted_label_map_with_exchanged_classes_is_remarked_on():
    """The liver is as it was; of the kidney, which was not found before, nobody knows."""
    before = np.array([1, 1, 1, 6, 6, 6, 0, 0])
    assert exchanged_classes(before, np.array([1, 1, 0, 6, 6, 6, 3, 3]), CLASSES) == []
    assert exchanged_classes(before, np.array([6, 6, 6, 1, 1, 0, 0, 0]), CLASSES) == [
        f"its {name} lies where {other} was: taken for a correction; look whether its values are spleen 1, "
        "left_kidney 3, liver 6"
        for name, other in (("spleen", "liver"), ("liver", "spleen"))
    ]


@pytest.mark.parametrize(("numbered", "said"), [((3, 1), 2), ((1, 3), 0)])
def test_exchanged_classes_are_told_when_label_maps_are_accepted(tmp_path, caplog, numbered, said):
    cohort = make_cohort(tmp_path)
    made = np.asarray(nib.load(cohort.cases["case_1"].image).dataobj)
    spleen, kidney = made == 120, made == 190
    work, affine = WorkFolder(cohort.output_dir), nib.load(cohort.cases["case_1"].image).affine
    write_nifti(work.pseudo_labels.label("case_1"), (spleen + 3 * kidney).astype(np.uint8), affine)
    first, second = numbered
    write_nifti(tmp_path / "accepted/case_1.nii.gz", (first * spleen + second * kidney).astype(np.uint8), affine)
    settings = RunSettings(cohort.output_dir, tmp_path, tmp_path, tmp_path, accepted=tmp_path / "accepted")
    default_mode.check_inputs(settings, cohort)
    assert caplog.text.count("was: taken for a correction") == said
