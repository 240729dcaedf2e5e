"""Rivals by hand: grids and displacements in world millimetres, the table, what is said when they are not installed."""

import importlib.util

import numpy as np
import pytest
import SimpleITK as sitk

from bundle.benchmark.results import HEAD, RIVAL, Results, result_line
from bundle.benchmark.rivals import measure
from bundle.benchmark.rivals.convex_adam import at_spacing, displacement_transform
from bundle.benchmark.rivals.table import measured_rivals
from scripts.common.errors import BundleError


def grid(size=(4, 6, 8), spacing=(1.0, 2.0, 3.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.Image(*size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin((10.0, -5.0, 7.0))
    image.SetDirection(direction)
    return image


def test_a_displacement_in_voxels_moves_world_places_along_the_grids_axes():
    image = grid()
    displacement = np.zeros((8, 6, 4, 3))  # arrays run z, y, x, and so do their displacements
    displacement[..., 0], displacement[..., 2] = 1.0, 0.5
    place = image.TransformIndexToPhysicalPoint((1, 2, 3))
    moved = displacement_transform(displacement, image).TransformPoint(place)
    assert np.subtract(moved, place) == pytest.approx([-0.5 * 1.0, 0.0, 1.0 * 3.0]), "x runs from left to right here"


def test_coarse_voxels_keep_the_volumes_corners():
    image = grid(size=(6, 6, 4))
    coarse = at_spacing(image, 3.0)
    assert coarse.GetSize() == (2, 4, 4) and coarse.GetSpacing() == (3.0, 3.0, 3.0)
    corner = image.TransformContinuousIndexToPhysicalPoint((-0.5, -0.5, -0.5))
    assert coarse.TransformContinuousIndexToPhysicalPoint((-0.5, -0.5, -0.5)) == pytest.approx(corner)


def test_without_the_packages_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match=r"pip install '.\[rivals\]'.*") as error:
        next(measure.measure(None))
    assert "convexadam, SyN, elastix" in str(error.value)


def test_the_table_takes_the_papers_organs_and_all_classes_from_one_label_map():
    dice = {"liver": {"dice_mean": 0.9}, "spleen": {"dice_mean": 0.7}, "pancreas": {"dice_mean": 0.2}}
    scores = {"classes": dice, "mean_dice": 0.6}
    taken = {
        "case_1": {"cpu_seconds": 10.0, "peak_memory_mb": 900},
        "case_2": {"cpu_seconds": 30.0, "peak_memory_mb": 700},
        "case_3": {"cpu_seconds": 12.0, "peak_memory_mb": 800},
    }
    head = result_line(HEAD, "abdomen_ct", classes=["liver", "spleen"])
    rival = result_line(RIVAL, "SyN", scores=scores, taken=taken)
    ours = result_line(RIVAL, "ours", scores=scores, taken={})
    cohort = {"rivals": Results((head, rival, ours))}
    text = measured_rivals({"abdomen_ct": cohort, "headneck_ct": {"rivals": Results((head, ours))}, "other": {}})
    assert "|  | is given | abdomen_ct, 2 | all 3 | s | MB | headneck_ct, 2 | all 3 | s | MB |" in text
    assert "--dataset DIR/COHORT`; not recorded when and where." in text
    assert "| SyN | true label map of one volume | 0.80 | 0.60 | 12 | 900 | – | – | – | – |" in text
    assert (
        "| ours | true label map of one volume, unlabelled ones | 0.80 | 0.60 | – | – | 0.80 | 0.60 | – | – |" in text
    )
    assert measured_rivals({"abdomen_ct": {"rivals": Results((head,))}}) == "", "nothing but a head yet"
