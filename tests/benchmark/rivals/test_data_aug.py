"""DataAug, compact: grids there and back, what one change makes of the labelled volume, and the way through files."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from bundle.benchmark.measure.runs import open_bench
from bundle.benchmark.results import HEAD, RIVAL, Results, result_line
from bundle.benchmark.rivals import measure
from bundle.benchmark.rivals.data_aug.frame import Frame
from bundle.benchmark.rivals.data_aug.training import Changes, Recipe, synthesised
from bundle.benchmark.rivals.table import measured_rivals
from bundle.datasets.phantom_cohort import write_phantom_cohort

QUICK = Recipe(spacing_mm=12.0, spatial_steps=2, appearance_steps=2, segmentation_steps=2, window=32)


@pytest.fixture
def body():
    """Air around a box of 30 x 20 x 10 voxels of 2 x 2 x 4 mm; x runs to the left."""
    values = np.full((20, 40, 60), -1000.0, np.float32)
    values[5:15, 10:30, 16:46] = 50.0
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 4.0))
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    return image


def test_the_frame_is_the_body_and_full_blocks_of_voxels(body):
    frame = Frame.of(body, 4.0)
    assert frame.grid.GetSize() == (16, 16, 16) and frame.grid.GetSpacing() == (4.0, 4.0, 4.0)
    image = frame.image()
    assert image[0, :10, :15].mean() == pytest.approx(0.5), "50 HU is halfway from -250 to 350"
    assert image[10:].max() == image[:, 10:].max() == image[..., 15:].max() == 0.0


def test_labels_come_back_to_where_they_were(body):
    frame = Frame.of(body, 4.0)
    labels = sitk.Cast(body > 0, sitk.sitkUInt8)
    probabilities = torch.nn.functional.one_hot(frame.labels(labels)).movedim(-1, 0)
    back = frame.sent_back(probabilities, sitk.AffineTransform(3), labels)
    assert back.GetDirection() == labels.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(labels))


def test_a_volume_that_lies_elsewhere_is_brought_there(tmp_path):
    phantom = write_phantom_cohort(tmp_path / "phantoms", 2, 0, spacing_mm=(6.0, 6.0, 6.0)) / "images"
    volume = sitk.ReadImage(str(next(phantom.glob("*.nii.gz"))), sitk.sitkFloat32)
    moved = sitk.Image(volume)
    shift = [30.0, -12.0, 8.0]
    moved.SetOrigin(np.add(volume.GetOrigin(), shift).tolist())
    frame = Frame.of(volume, 4.0)
    there, found = frame.brought_here(moved)
    assert (there - frame.image()).abs().mean() < 0.02
    place = volume.TransformContinuousIndexToPhysicalPoint([size / 2 for size in volume.GetSize()])
    assert np.subtract(found.TransformPoint(place), place) == pytest.approx(shift, abs=2.0)


def test_the_volume_is_recoloured_by_one_and_bent_by_another():
    image, labels = torch.zeros(4, 4, 6), torch.zeros(4, 4, 6, dtype=torch.int64)
    image[1, 2, 3], labels[1, 2, 3] = 0.5, 2
    shift = torch.zeros(3, 4, 4, 6)
    shift[2] = 1.0  # each place comes from one voxel further along x
    changes = Changes([torch.zeros(3, 4, 4, 6), shift], [torch.zeros(4, 4, 6), 0.25 * (labels == 2)])
    changed, bent = synthesised(image, labels, changes, shape=1, colour=1)
    assert changed[1, 2, 2] == pytest.approx(0.75) and changed.sum() == pytest.approx(0.75)
    assert bent[1, 2, 2] == 2 and bent.sum() == 2
    window = (slice(1, 3), slice(0, 4), slice(2, 5))
    part, its_labels = synthesised(image, labels, changes, 1, 1, window)
    assert torch.allclose(part, changed[window]) and torch.equal(its_labels, bent[window])


@pytest.mark.slow
def test_it_is_trained_once_and_segments_every_test_volume(tmp_path):
    dataset = write_phantom_cohort(tmp_path / "phantoms", 3, 1, spacing_mm=(12.0, 12.0, 15.0))
    bench = open_bench(dataset, tmp_path / "work", small=True, device="cpu")
    line = measure.data_aug(bench, QUICK)
    assert list(line["scores"]["cases"]) == list(line["taken"]) == list(bench.dataset.test)
    assert line["training"]["wall_s"] > 0
    assert measure.data_aug(bench, replace(QUICK, window=16)) == line, "what is there is not made again"


def test_its_row_says_what_it_is_given_and_a_sentence_how_long_it_learnt():
    scores = {"classes": {"liver": {"dice_mean": 0.5}}, "mean_dice": 0.5}
    line = result_line(RIVAL, "DataAug", scores=scores, taken={}, training={"cpu_s": 1800.0})
    ours = result_line(RIVAL, "ours", scores=scores, taken={})
    text = measured_rivals({"toy": {"rivals": Results((result_line(HEAD, "toy", classes=["liver"]), ours, line))}})
    assert "| DataAug | true label map of one volume, unlabelled ones | 0.50 | 0.50 |" in text
    assert text.index("| DataAug ") < text.index("| ours "), "ours come last"
    assert "Its training took 30 minutes of CPU on toy" in text
