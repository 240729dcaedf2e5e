"""Label maps whose right answer is known voxel by voxel, from values to values."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.common.label_channels import UNDECIDED
from scripts.common.overlap import dice_of
from scripts.data.intensity import normalise_hu
from scripts.data.probability_maps import ClassProbabilities
from scripts.data.volume_io import Volume
from scripts.networks.prnet_weights import TrainedPRNet
from scripts.pseudo_labels.em_posterior import em_posterior
from scripts.pseudo_labels.label_case import (
    WorkingVolume,
    label_case,
    path_channels,
    sharpened,
)
from scripts.pseudo_labels.settings import (
    BorderSettings,
    EMSettings,
    GeodesicSettings,
    GrowthLimits,
    OpeningSettings,
    RefinementSettings,
)
from scripts.pseudo_labels.stage import on_geodesic_grid
from tests.pseudo_labels.three_blocks import (
    AROUND,
    CENTRES,
    CLASSES,
    FAT_HU,
    FROM_POINTS,
    ORGAN_HU,
    POINTS,
    SHAPE,
    SPACING_MM,
    Point,
    hu_volume,
    labelled,
    normalised,
    point_set,
    truth_values,
)

TRUTH = truth_values()
LIVER = list(CLASSES).index("liver") + 1
# Class probabilities as they are: neither intensities nor the body say more, and masks stay as they grew.
AS_FUSED = GeodesicSettings(
    body_only=False,
    seed_probability=0.8,
    background_seed_probability=None,
    probability_weight=0.0,
    least_expected_share=0.0,
    em=None,
)


@pytest.fixture
def affine(make_affine):
    return make_affine("RAS", SPACING_MM)


def of_liver(liver, affine, background=None):
    """Class probabilities on the case's own grid: `liver`, (X, Y, Z), and background, the rest of 1 by default."""
    probabilities = np.zeros((len(CLASSES) + 1, *SHAPE), dtype=np.float32)
    probabilities[LIVER] = liver
    probabilities[0] = 1 - liver if background is None else background
    return ClassProbabilities(probabilities, affine)


@pytest.mark.parametrize(
    ("codes", "oblique_deg"), [("LAS", 0), ("LPS", 0), ("RAS", 0), ("PSL", 0), ("LPS", 12), ("SRA", -20)]
)
def test_labels_lie_on_the_cases_own_grid(make_affine, codes, oblique_deg):
    label, result = labelled(make_affine(codes, SPACING_MM, oblique_deg))
    np.testing.assert_array_equal(label, TRUTH)
    assert label.dtype == np.uint8 and result.channels.max() == len(CLASSES)
    assert (result.not_located, result.opened_share, result.border_confidence) == ((), {}, {})


@pytest.mark.parametrize(("codes", "oblique_deg"), [("LAS", 0), ("LPS", 0), ("PSL", 12)])
def test_distances_of_a_coarser_grid_are_resampled_to_the_right_place(make_affine, codes, oblique_deg):
    affine = make_affine(codes, SPACING_MM, oblique_deg)
    image = on_geodesic_grid(Volume(hu_volume(), affine), (3.0, 3.0, 3.5))
    assert image.spacing_mm == pytest.approx((3.0, 3.0, 3.5))
    label, _ = labelled(affine, image=image)
    for value in CLASSES.values():
        grown, expected = label == value, value == TRUTH
        assert dice_of(grown, expected) > 0.85
        centres = [(affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3] for mask in (grown, expected)]
        assert np.linalg.norm(centres[0] - centres[1]) < 1.0


def test_no_grid_finer_than_the_cases_own(make_affine):
    """Finer voxels than those measured would only cost time."""
    affine = make_affine("LPS", SPACING_MM)
    image = on_geodesic_grid(Volume(hu_volume(), affine), (1.0, 1.0, 1.0))
    assert sorted(image.array.shape) == sorted(SHAPE)
    np.testing.assert_array_equal(labelled(affine, image=image)[0], TRUTH)


def test_outside_the_body_is_background(make_affine):
    """A spleen point astray in the uniform fat around the organs would claim all of it; here fat is no body."""
    affine = make_affine("LAS", SPACING_MM)
    points = [*CENTRES, Point("spleen", (0, 0, 0))]
    organs = nib.as_closest_canonical(nib.Nifti1Image(TRUTH, affine))
    body = np.asarray(organs.dataobj) > 0
    working = WorkingVolume(np.zeros(body.shape, np.float32), body, organs.affine, SPACING_MM)
    everywhere = replace(FROM_POINTS, largest_component=False)
    spleen = CLASSES["spleen"]
    assert (labelled(affine, points, everywhere)[0] == spleen).sum() > 2 * (spleen == TRUTH).sum()
    label, _ = labelled(affine, points, replace(everywhere, body_only=True), working=working)
    np.testing.assert_array_equal(label, TRUTH)
    with pytest.raises(ValueError, match="working spacing"):
        labelled(affine, points, replace(everywhere, body_only=True))


def test_what_two_classes_claim_alike_is_undecided(make_affine):
    """Ten planes 4 mm apart, intensity steps of 0.0125, so 0.05 to pay a step: seeds at both ends meet midway."""
    affine = make_affine("RAS", (4.0, 4.0, 4.0))
    hu = np.interp(np.linspace(0.3, 0.4125, 10), (0.2, 0.8), (-100, 200)).astype(np.float32)
    image = Volume(normalise_hu(np.broadcast_to(hu[:, None, None], (10, 8, 8))), affine)
    points = point_set([Point("spleen", (0, 0, 0)), Point("background", (9, 0, 0))], affine)
    settings = replace(FROM_POINTS, truncation=0.4, undecided_margin=0.25)
    channels = label_case(image, points, (10, 8, 8), affine, CLASSES, settings).channels
    # Distances 0, 0.05, ... to either end; 4 and 5 steps differ by 0.05 < 0.1, 3 and 6 by 0.15.
    assert channels[:, 4, 4].tolist() == [1, 1, 1, 1, UNDECIDED, UNDECIDED, 0, 0, 0, 0]


def test_confident_probabilities_replace_points(affine):
    """The liver has probabilities, the others but points; the liver's point, here far astray, does not count."""
    points = [*CENTRES[:2], *AROUND, Point("liver", (0, 0, 14))]
    liver = CLASSES["liver"] == TRUTH
    probabilities = of_liver(liver.astype(float), affine, background=np.where(liver, 0.0, 0.5))
    np.testing.assert_array_equal(labelled(affine, points, AS_FUSED, probabilities=probabilities)[0], TRUTH)
    astray = labelled(affine, points, replace(AS_FUSED, seed_probability=None), probabilities=probabilities)[0]
    assert astray[0, 0, 14] == CLASSES["liver"], "points alone, whatever is known of probabilities"


def test_a_class_that_is_nowhere_beyond_doubt_has_its_likely_voxels(affine):
    """No seed above 0.8 and no point: the geodesic mask is empty. All voxels of 0.3 have the best expected Dice."""
    liver = CLASSES["liver"] == TRUTH
    probabilities = of_liver(np.where(liver, 0.3, 0.0), affine)
    empty, lost = labelled(affine, [], AS_FUSED, probabilities=probabilities)
    assert not empty.any() and "liver" in lost.not_located
    label, kept = labelled(affine, [], replace(AS_FUSED, least_expected_share=0.9), probabilities=probabilities)
    np.testing.assert_array_equal(label == CLASSES["liver"], liver)
    assert "liver" not in kept.not_located and "spleen" in kept.not_located


def test_background_that_is_not_beyond_doubt_does_not_stop_a_class(affine):
    """Probabilities doubt the rim of the liver: as seeds of background they cut it off."""
    liver = CLASSES["liver"] == TRUTH
    core = ndimage.binary_erosion(liver)
    assert core.any()
    probabilities = of_liver(np.where(core, 1.0, np.where(liver, 0.1, 0.0)), affine)

    def livers(**settings):
        return labelled(affine, settings=replace(AS_FUSED, **settings), probabilities=probabilities)[0] == 6

    np.testing.assert_array_equal(livers(), core)
    np.testing.assert_array_equal(livers(background_seed_probability=0.97), liver)


def test_where_intensities_tell_nothing_the_probabilities_draw_the_border(affine):
    """One tissue everywhere; probabilities fall along x from the liver to the background, slowly, then fast."""
    fall = np.concatenate([np.linspace(1.0, 0.6, 20), np.linspace(0.5, 0.0, 4)])[:, None, None]
    probabilities = of_liver(np.broadcast_to(fall, SHAPE), affine)

    def shares(**settings):
        settings = replace(AS_FUSED, background_seed_probability=0.9, **settings)
        hu = np.full(SHAPE, ORGAN_HU, dtype=np.float32)
        label, _ = labelled(affine, [CENTRES[2], *AROUND], settings, hu=hu, probabilities=probabilities)
        return (label == 6).mean(axis=(1, 2))

    drawn, by_length = shares(probability_weight=0.5), shares()
    assert np.array_equal(drawn, drawn.round()) and (np.diff(drawn) <= 0).all(), "whole planes, from one side"
    assert fall[int(drawn.sum()) - 1, 0, 0] == pytest.approx(0.5, abs=0.12), "half way from 0.8 to 0.1"
    assert by_length.sum() < drawn.sum() - 2, "without them it is half the way in millimetres"


def test_smoothing_keeps_fingers_of_noise_out_of_the_borders(make_affine):
    affine = make_affine("LAS", SPACING_MM)
    hu = hu_volume() + np.random.default_rng(0).normal(0, 120, SHAPE).astype(np.float32)

    def dice(**settings):
        label, _ = labelled(affine, settings=replace(FROM_POINTS, **settings), hu=hu)
        return np.mean([dice_of(label == value, value == TRUTH) for value in CLASSES.values()])

    plain, image = dice(), dice(image_smoothing_voxels=0.8)
    border = dice(border=BorderSettings(border_smoothing_voxels=0.8))
    assert image > plain + 0.05 and border > plain + 0.02, (plain, image, border)


def test_paths_see_smoothed_intensity_and_weighted_probabilities(affine):
    image = Volume(np.random.default_rng(0).random(SHAPE).astype(np.float32), affine)
    probabilities = of_liver(np.full(SHAPE, 0.25), affine).array
    before = probabilities.copy()
    np.testing.assert_array_equal(path_channels(image, None, AS_FUSED), image.array[None])
    settings = replace(AS_FUSED, image_smoothing_voxels=0.8, probability_weight=0.5)
    channels = path_channels(image, probabilities, settings)
    # 0.8 sides of the median voxel, 2.5 mm, are 2 mm.
    smoothed = ndimage.gaussian_filter(image.array, [2 / 2, 2 / 2.5, 2 / 3])
    np.testing.assert_allclose(channels[0], smoothed, atol=1e-6)
    assert (channels[LIVER] == 0.125).all() and (channels[1:LIVER] == 0).all()
    np.testing.assert_array_equal(probabilities, before, err_msg="the probabilities stay")


def test_probabilities_are_sharpened_on_the_working_grid(make_affine):
    """A grid of 4 mm under probabilities of 8 mm: the posterior lies on it, made of its intensities."""
    generator = np.random.default_rng(0)
    coarse, fine = make_affine("RAS", (8.0, 8.0, 8.0)), make_affine("RAS", (4.0, 4.0, 4.0))
    organ = np.zeros((6, 6, 6), dtype=np.float32)
    organ[2:4, 2:4, 2:4] = 0.75
    probabilities = ClassProbabilities(np.stack([1 - organ, organ]), coarse)
    image = generator.random((11, 11, 11)).astype(np.float32)
    working = WorkingVolume(image, np.ones(image.shape, bool), fine, (4.0, 4.0, 4.0))
    em = EMSettings(em_rounds=2)
    result = sharpened(probabilities, working, GeodesicSettings(em=em))
    np.testing.assert_array_equal(result.affine, fine)
    prior = ndimage.zoom(organ, 11 / 6, order=1)  # the corners of both grids are the same places
    expected = em_posterior(image, np.stack([1 - prior, prior]), working.body, working.spacing_mm, em)
    np.testing.assert_allclose(result.array, expected, atol=1e-5)
    assert sharpened(probabilities, None, GeodesicSettings(em=None)) is probabilities
    with pytest.raises(ValueError, match="working spacing"):
        sharpened(probabilities, None, GeodesicSettings(em=em))


def test_a_class_not_located_is_listed_and_absent(make_affine):
    points = [point._replace(kept=point.name != "left_kidney") for point in POINTS]
    label, result = labelled(make_affine("LAS", SPACING_MM), points)
    assert result.not_located == ("left_kidney",)
    assert set(np.unique(label)) == {0, 1, 6}


def test_no_background_point_and_no_point_at_all_do_not_crash(make_affine):
    affine = make_affine("LAS", SPACING_MM)
    np.testing.assert_array_equal(labelled(affine, CENTRES)[0], TRUTH)
    label, result = labelled(affine, [])
    assert not label.any() and result.not_located == tuple(CLASSES)


def test_on_a_shared_voxel_classes_beat_background_and_the_score_decides(make_affine):
    disputed = [Point("liver", (6, 6, 7), 0.3), Point("background", (6, 6, 7), 0.9)]
    outside = [Point("spleen", (-40, 6, 7), 0.9), Point("background", (0, 6, 7), 0.99)]
    points = [*POINTS, *disputed, *outside]
    label, _ = labelled(make_affine("LAS", SPACING_MM), points, replace(FROM_POINTS, largest_component=False))
    np.testing.assert_array_equal(label[3:10, 3:10, 3:12], 1)
    assert label[0, 6, 7] == 1, "the point outside the volume was clamped to its edge"


def test_what_was_limited_and_opened_is_told_by_class(affine):
    """Growth limits of many times the strokes' extent leave organs with edges alone; nothing hangs on by a passage."""
    settings = replace(
        FROM_POINTS,
        growth=GrowthLimits(growth_share=90.0, leak_share=1.0, free_share=80.0, clear_share=90.0),
        opening=OpeningSettings(opening_radius_mm=2.0),
    )
    points = [point._replace(kept=point.name != "left_kidney") for point in POINTS]
    _, result = labelled(affine, points, settings)
    assert result.border_confidence == {"spleen": 1.0, "liver": 1.0}, "nothing of a class without seeds"
    assert list(result.opened_share) == list(CLASSES)
    assert result.opened_share["left_kidney"] == 0.0 and 0 <= result.opened_share["spleen"] < 0.1


class OneWindow:
    """Stands in for a PRNet: its features of the one window that covers the volume are the tissue it was given."""

    patch_size = SHAPE

    def __init__(self, tissue: np.ndarray) -> None:
        values = (0, *CLASSES.values())
        self.features = torch.from_numpy(np.stack([tissue == value for value in values]).astype(np.float32))
        self.seen: list[np.ndarray] = []

    def dense_features(self, patches: torch.Tensor) -> torch.Tensor:
        assert patches.shape == (1, 1, *SHAPE)
        self.seen.append(patches[0, 0].numpy())
        return self.features[None]

    def trained(self, body_only: bool = False) -> TrainedPRNet:
        return TrainedPRNet(self, SPACING_MM, (100.0, 100.0, 100.0), body_only)


def test_refinement_redraws_borders_by_the_networks_features(affine):
    smaller = TRUTH.copy()
    smaller[3], smaller[:, :, 11] = 0, 0  # what the features call an organ
    settings = replace(FROM_POINTS, refinement=RefinementSettings(refine=True))
    network = OneWindow(smaller)
    np.testing.assert_array_equal(labelled(affine, settings=settings, network=network.trained())[0], smaller)
    assert len(network.seen) == 1
    np.testing.assert_array_equal(labelled(affine, network=network.trained())[0], TRUTH)
    assert len(network.seen) == 1, "refinement is a setting"
    with pytest.raises(ValueError, match="needs the fine PRNet"):
        labelled(affine, settings=settings)


def test_refinement_of_an_empty_label_map_changes_nothing(affine):
    settings = replace(FROM_POINTS, refinement=RefinementSettings(refine=True))
    assert not labelled(affine, [], settings, network=OneWindow(TRUTH).trained())[0].any()


@pytest.mark.parametrize("body_only", [True, False])
def test_refinement_shows_a_network_what_it_learned_from(affine, body_only):
    settings = replace(FROM_POINTS, refinement=RefinementSettings(refine=True))
    image = normalised(hu_volume(), affine)
    body = np.ones(SHAPE, dtype=bool)
    body[:2] = False
    working, network = WorkingVolume(image.array, body, image.affine, SPACING_MM), OneWindow(TRUTH)
    labelled(affine, settings=settings, working=working, network=network.trained(body_only))
    (seen,) = network.seen
    assert image.array[~body].all(), "there is something to see outside the body"
    np.testing.assert_array_equal(seen, np.where(body, image.array, 0) if body_only else image.array)
    if body_only:
        with pytest.raises(ValueError, match="need the case at the working spacing"):
            labelled(affine, settings=settings, network=network.trained(body_only))


def test_the_inputs_stay_as_they_were(affine):
    image = normalised(hu_volume() + FAT_HU * np.random.default_rng(0).random(SHAPE).astype(np.float32), affine)
    liver = np.where(CLASSES["liver"] == TRUTH, 0.9, 0.02)
    probabilities, working = of_liver(liver, affine), WorkingVolume(image.array, TRUTH > 0, affine, SPACING_MM)
    points = point_set(POINTS, affine)
    arrays = (image.array, probabilities.array, working.body, points.located_mm, points.scores)
    before = [array.copy() for array in arrays]
    settings = GeodesicSettings(
        growth=GrowthLimits(),
        opening=OpeningSettings(opening_radius_mm=3.0),
        border=BorderSettings(border_smoothing_voxels=1.0),
        image_smoothing_voxels=0.5,
    )
    label_case(image, points, SHAPE, affine, CLASSES, settings, working, probabilities)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
