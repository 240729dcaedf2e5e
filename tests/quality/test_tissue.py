"""Other tissue in a label map: shares by hand, contrast, noise, small classes."""

import numpy as np
import pytest

from scripts.quality.tissue import Tissue, TissueRange, tissue_shares, tissues

COVERAGE = 0.9
SUPPORT = TissueRange.of(Tissue(np.arange(101.0), noise_hu=10.0), COVERAGE)  # its tissue: 45 HU around the median of 50


def share(values_hu, noise_hu=10.0):
    return tissue_shares({"liver": Tissue(np.asarray(values_hu), noise_hu)}, {"liver": SUPPORT})["liver"]


def test_contrast_moves_an_organ_and_changes_nothing():
    assert share(np.arange(101.0)) == share(np.arange(101.0) + 80) == 1.0
    assert share(np.full(101, 7.0)) == 1.0, "less spread is no other tissue"


def test_what_lies_outside_the_range_is_other_tissue():
    """60 of 100 voxels are the organ's, and a tenth of any organ lies outside the range."""
    organ, fat = np.linspace(40, 60, 60), np.full(40, -100.0)
    median = np.median(np.concatenate([organ, fat]))
    inside = np.mean(np.abs(np.concatenate([organ, fat]) - median) <= 45.5)
    assert inside == 0.6 and share(np.concatenate([organ, fat])) == pytest.approx(0.6 / 0.9)


def test_a_noisier_scan_has_a_wider_range_and_a_smoother_one_no_narrower():
    wide = np.linspace(-120, 120, 241)
    assert share(wide) == pytest.approx(91 / 241 / 0.9)
    assert share(wide, noise_hu=20.0) == pytest.approx(181 / 241 / 0.9) and share(wide, noise_hu=1.0) == share(wide)


def test_noise_is_that_of_most_classes_as_one_may_hold_other_tissues():
    calm, mixed = Tissue(np.arange(101.0), 10.0), Tissue(np.linspace(-100, 100, 201), 90.0)
    support = dict.fromkeys(("liver", "spleen", "aorta"), SUPPORT)
    shares = tissue_shares({"liver": calm, "spleen": calm, "aorta": mixed, "pancreas": calm}, support)
    assert shares == {"liver": 1.0, "spleen": 1.0, "aorta": pytest.approx(91 / 201 / 0.9)}, "no pancreas in the support"


def test_noise_is_measured_between_neighbours_of_one_class_along_the_given_axis():
    label = np.zeros((4, 8, 2), dtype=np.uint8)
    label[:3], label[3] = 6, 1
    image_hu = np.zeros(label.shape, dtype=np.float32)
    image_hu[1::2] = 30
    image_hu[:, 1::2] += 7
    found = tissues(label, image_hu, {"spleen": 1, "liver": 6, "aorta": 8}, axis=0)
    assert {name: len(tissue.values_hu) for name, tissue in found.items()} == {"spleen": 16, "liver": 48, "aorta": 0}
    assert {name: tissue.noise_hu for name, tissue in found.items()} == {"spleen": 0, "liver": 30, "aorta": 0}
    assert tissues(label, image_hu, {"liver": 6})["liver"].noise_hu == 0, "nobody asked for it"
    assert tissues(label, image_hu, {"liver": 6}, axis=1)["liver"].noise_hu == 7
    assert tissues(label, image_hu, {"liver": 6}, axis=2)["liver"].noise_hu == 0


def test_of_few_voxels_nothing_is_known():
    few = Tissue(np.arange(19.0), 10.0)
    assert not few.is_large and Tissue(np.arange(20.0), 10.0).is_large
    assert tissue_shares({"liver": few}, {"liver": SUPPORT}) == {}
