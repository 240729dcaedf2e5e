"""Pseudo labels whose right answer is known voxel by voxel, and their way to the case's own grid."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run
from scipy import ndimage

from scripts.common.errors import BundleError
from scripts.common.files import write_json, write_nifti
from scripts.common.overlap import dice_of
from scripts.data.case import Case
from scripts.data.cohort import Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.prepare_cohort import prepare_cohort
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet
from scripts.pseudo_labels.geodesic_labels import geodesic_pseudo_label
from scripts.pseudo_labels.labeller import PseudoLabeller
from scripts.pseudo_labels.post_processing import open_masks
from scripts.pseudo_labels.settings import GeodesicSettings
from tests.paths import CONFIGS

CONFIG = CONFIGS / "pseudo_labels.json"
CLASSES = {"spleen": 1, "left_kidney": 3, "liver": 6}
SPACING_MM = (2.0, 2.5, 3.0)
SHAPE = (24, 20, 16)  # along right-left, anterior-posterior, superior-inferior
FAT_HU, ORGAN_HU = -100.0, 200.0


def _seeds(shape, *groups):
    seeds = np.zeros((len(groups), *shape), dtype=bool)
    for channel, voxels in enumerate(groups):
        for voxel in voxels:
            seeds[(channel, *voxel)] = True
    return seeds


def _blocks():
    """Two bright blocks in a dark volume, with their index map."""
    truth = np.zeros((12, 10, 8), dtype=np.uint8)
    truth[1:5, 2:8, 2:6], truth[7:11, 2:8, 2:6] = 1, 2
    return np.where(truth > 0, 0.8, 0.2).astype(np.float32), truth


def test_each_block_goes_to_its_seed_and_the_rest_to_background():
    image, truth = _blocks()
    seeds = _seeds(image.shape, [(0, 0, 0)], [(2, 4, 3)], [(9, 5, 4)])
    pseudo = geodesic_pseudo_label(image, seeds, (1.0, 2.0, 3.0), GeodesicSettings())
    np.testing.assert_array_equal(pseudo.label, truth)
    assert pseudo.label.dtype == np.uint8 and pseudo.distances.dtype == np.float32
    assert pseudo.distances.shape == (3, 12, 10, 8) and pseudo.distances.max() <= 1.0


@pytest.mark.parametrize("seed", range(4))
def test_far_background_seeds_need_no_look(seed, monkeypatch):
    generator = np.random.default_rng(seed)
    image = generator.random((14, 12, 10)).astype(np.float32)
    seeds = np.zeros((3, *image.shape), dtype=bool)
    seeds[0] = True
    seeds[0, 4:10, 3:9, 2:8] = generator.random((6, 6, 6)) < 0.1
    seeds[1, 5, 5, 4], seeds[2, 8, 6, 5] = True, True
    seeds[0] &= ~seeds[1:].any(axis=0)
    settings = GeodesicSettings(truncation=8.0, largest_component=False)
    cropped = geodesic_pseudo_label(image, seeds, (1.0, 2.0, 3.0), settings)
    monkeypatch.setattr(
        "scripts.pseudo_labels.geodesic_labels.open_box", lambda seeds: tuple(slice(0, n) for n in seeds.shape[1:])
    )
    whole = geodesic_pseudo_label(image, seeds, (1.0, 2.0, 3.0), settings)
    assert len(np.unique(whole.label)) == 3
    np.testing.assert_array_equal(cropped.label, whole.label)
    np.testing.assert_array_equal(cropped.distances[0], whole.distances[0])


def test_a_class_without_seed_stays_absent():
    image, _ = _blocks()
    seeds = _seeds(image.shape, [(0, 0, 0)], [(2, 4, 3)], [])
    pseudo = geodesic_pseudo_label(image, seeds, (1, 1, 1), GeodesicSettings())
    assert set(np.unique(pseudo.label)) == {0, 1}
    np.testing.assert_array_equal(pseudo.distances[2], 1.0)


def test_without_background_seeds_what_is_far_from_all_classes_is_background():
    image, truth = _blocks()
    seeds = _seeds(image.shape, [], [(2, 4, 3)], [(9, 5, 4)])
    pseudo = geodesic_pseudo_label(image, seeds, (2.0, 2.0, 2.0), GeodesicSettings())
    np.testing.assert_array_equal(pseudo.label, truth)  # a border step costs 2 mm * 0.6 = 1.2, above the truncation


def test_ties_go_to_background():
    image = np.zeros((5, 1, 1), dtype=np.float32)
    seeds = _seeds(image.shape, [(0, 0, 0)], [(4, 0, 0)])
    pseudo = geodesic_pseudo_label(image, seeds, (1, 1, 1), GeodesicSettings(lam=0.0, truncation=10.0))
    assert pseudo.label.ravel().tolist() == [0, 0, 0, 1, 1]
    near = geodesic_pseudo_label(image, seeds, (1, 1, 1), GeodesicSettings(lam=0.0, truncation=1.0))
    assert near.label.ravel().tolist() == [0, 0, 0, 0, 1]  # at the truncation all affinities are zero


def test_the_largest_component_is_a_setting():
    image, truth = _blocks()
    image[1:5, 2:8, 6], truth[1:5, 2:8, 6] = 0.8, 1  # the first block is the larger
    seeds = _seeds(image.shape, [(0, 0, 0)], [(2, 4, 3), (9, 5, 4)])
    both = geodesic_pseudo_label(image, seeds, (2, 2, 2), GeodesicSettings(largest_component=False)).label
    one = geodesic_pseudo_label(image, seeds, (2, 2, 2), GeodesicSettings()).label
    np.testing.assert_array_equal(both, truth > 0)
    np.testing.assert_array_equal(one, truth == 1)


def test_what_leaked_through_a_neck_goes_to_the_background():
    """Two blocks of 8 x 8 x 8 voxels of 2 mm, joined by a bar of 2 x 2."""
    distances = np.ones((2, 24, 10, 10), dtype=np.float32)
    distances[0] = 0.5
    seeds = np.zeros(distances.shape, dtype=bool)
    for block in (np.s_[1:9, 1:9, 1:9], np.s_[15:23, 1:9, 1:9], np.s_[9:15, 4:6, 4:6]):
        distances[1][block] = 0.0
    seeds[1, 5, 5, 5] = True
    (share,) = open_masks(distances, seeds, (2.0, 2.0, 2.0), GeodesicSettings(opening_radius_mm=4.0))
    assert share == pytest.approx(1 / 2, abs=0.05)
    label = distances.argmin(axis=0)
    assert label[1:9, 1:9, 1:9].mean() > 0.9 and label[15:23, 1:9, 1:9].sum() == 0
    assert (distances[1, 15:23, 1:9, 1:9] == 1).all() and (distances[0, 15:23, 1:9, 1:9] == 0).all()


@pytest.fixture
def make_case(tmp_path, make_affine, write_volume):
    """`make_case(codes, oblique_deg)`: a case with three bright blocks and the truth on its own grid."""

    def make(codes="LAS", oblique_deg=0.0, name="case_1"):
        affine = make_affine(codes, SPACING_MM, oblique_deg).astype(np.float32).astype(np.float64)
        truth = np.zeros(SHAPE, dtype=np.uint8)
        truth[3:10, 3:10, 3:12], truth[14:21, 3:10, 3:12], truth[8:16, 12:18, 3:12] = 1, 3, 6
        hu = np.where(truth > 0, ORGAN_HU, FAT_HU).astype(np.float32)
        path = write_volume(tmp_path, hu, affine, f"{name}.nii.gz")
        case = Case(name, path, path, SHAPE, SPACING_MM, tuple(map(tuple, affine.tolist())), codes, f"sha-{name}")
        return case, truth, affine

    return make


def _cohort(folder, *cases, classes=CLASSES, spacing_mm=(4.0, 4.0, 4.0)):
    by_name = {case.id: case for case in cases}
    return Cohort(folder, spacing_mm, by_name, {}, cases[0].id, None, classes, 14, ())


def _point(name, voxel, affine, score=1.0, kept=True):
    located_mm = (affine @ [*voxel, 1])[:3].tolist()
    label = CLASSES.get(name, 0)
    return {"class": name, "label": label, "located_mm": located_mm, "score": score, "kept": kept}


def _points(affine, without=()):
    centres = {"spleen": (6, 6, 7), "left_kidney": (17, 6, 7), "liver": (12, 15, 7)}
    points = [_point(name, voxel, affine, kept=name not in without) for name, voxel in centres.items()]
    return points + [_point("background", voxel, affine, score=0.4) for voxel in [(0, 0, 0), (12, 1, 14), (22, 18, 1)]]


def _propagated(folder, case, points):
    write_json(
        Path(folder) / "propagation" / f"{case.id}.json", {"case": case.id, "classes": CLASSES, "points": points}
    )


def _result(folder, name="case_1"):
    image = nib.load(Path(folder) / "pseudo_labels" / f"{name}.nii.gz")
    record = json.loads((Path(folder) / "pseudo_labels" / f"{name}.json").read_text(encoding="utf-8"))
    return np.asarray(image.dataobj), image, record


@pytest.mark.parametrize(
    ("codes", "oblique_deg"), [("LAS", 0), ("LPS", 0), ("RAS", 0), ("PSL", 0), ("LPS", 12), ("SRA", -20)]
)
def test_labels_lie_on_the_cases_own_grid(tmp_path, make_case, codes, oblique_deg):
    case, truth, affine = make_case(codes, oblique_deg)
    _propagated(tmp_path, case, _points(affine))
    assert PseudoLabeller(_cohort(tmp_path, case), tmp_path).run() == ["case_1"]
    label, image, record = _result(tmp_path)
    np.testing.assert_array_equal(label, truth)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, nib.load(case.image).affine)
    assert record["not_located"] == [] and record["classes"] == CLASSES
    assert record["volume_ml"]["spleen"] == pytest.approx(7 * 7 * 9 * 15 / 1000)


@pytest.mark.parametrize(("codes", "oblique_deg"), [("LAS", 0), ("LPS", 0), ("PSL", 12)])
def test_distances_of_a_coarser_grid_come_back_to_the_right_place(tmp_path, make_case, codes, oblique_deg):
    case, truth, affine = make_case(codes, oblique_deg)
    _propagated(tmp_path, case, _points(affine))
    PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(spacing_mm=[3.0, 3.0, 3.5])).run()
    label, image, _ = _result(tmp_path)
    np.testing.assert_array_equal(image.affine, affine)
    for value in CLASSES.values():
        found, expected = label == value, truth == value
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.85
        centres = [(affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3] for mask in (found, expected)]
        assert np.linalg.norm(centres[0] - centres[1]) < 1.0


def test_no_grid_finer_than_the_cases_own(tmp_path, make_case):
    """Finer voxels than those measured would only cost time."""
    case, truth, affine = make_case("LPS")
    _propagated(tmp_path, case, _points(affine))
    labeller = PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(spacing_mm=[1.0, 1.0, 1.0]))
    assert sorted(labeller._working_image(case).array.shape) == sorted(SHAPE)
    labeller.run()
    np.testing.assert_array_equal(_result(tmp_path)[0], truth)


def test_outside_the_body_is_background(tmp_path, make_case):
    """A spleen point astray in the uniform fat around the organs would claim all of it; here fat is no body."""
    case, truth, affine = make_case("LAS")
    points = [p for p in _points(affine) if p["class"] != "background"]
    _propagated(tmp_path, case, [*points, _point("spleen", (0, 0, 0), affine)])
    canonical_label = nib.as_closest_canonical(nib.Nifti1Image(truth, affine))
    body = (np.asarray(canonical_label.dataobj) > 0).astype(np.uint8)
    write_nifti(tmp_path / "cache" / "case_1_body.nii", body, canonical_label.affine)
    cohort = _cohort(tmp_path, case)
    PseudoLabeller(cohort, tmp_path, GeodesicSettings(largest_component=False)).run()
    assert (_result(tmp_path)[0] == CLASSES["spleen"]).sum() > 2 * (truth == CLASSES["spleen"]).sum()
    PseudoLabeller(cohort, tmp_path, GeodesicSettings(largest_component=False, body_only=True)).run()
    np.testing.assert_array_equal(_result(tmp_path)[0], truth)


def test_what_two_classes_claim_alike_is_undecided(tmp_path, make_affine, write_volume):
    """Ten planes 4 mm apart, intensity steps of 0.0125, so 0.05 to pay a step: seeds at both ends meet midway."""
    affine = make_affine("RAS", (4.0, 4.0, 4.0))
    hu = np.interp(np.linspace(0.3, 0.4125, 10), (0.2, 0.8), (-100, 200)).astype(np.float32)
    hu = np.broadcast_to(hu[:, None, None], (10, 8, 8)).copy()
    path = write_volume(tmp_path, hu, affine, "case_1.nii.gz")
    rows = tuple(map(tuple, affine.tolist()))
    case = Case("case_1", path, path, (10, 8, 8), (4.0, 4.0, 4.0), rows, "RAS", "sha")
    _propagated(tmp_path, case, [_point("spleen", (0, 0, 0), affine), _point("background", (9, 0, 0), affine)])
    settings = GeodesicSettings(truncation=0.4, undecided_margin=0.25)
    PseudoLabeller(_cohort(tmp_path, case), tmp_path, settings).run()
    label, _, record = _result(tmp_path)
    # Distances 0, 0.05, ... to either end; 4 and 5 steps differ by 0.05 < 0.1, 3 and 6 by 0.15.
    assert label[:, 4, 4].tolist() == [1, 1, 1, 1, 255, 255, 0, 0, 0, 0]
    assert record["volume_ml"]["spleen"] == pytest.approx(4 * 64 * 64 / 1000)


def test_confident_votes_replace_points(tmp_path, make_case):
    """The liver has votes, the others but points; the liver's points, here far astray, are not asked."""
    case, truth, affine = make_case("RAS")
    points = [p for p in _points(affine) if p["class"] != "liver"]
    astray = [_point("liver", (0, 0, 14), affine)]
    _propagated(tmp_path, case, points + astray)
    probabilities = np.zeros((*SHAPE, 4), dtype=np.uint8)
    probabilities[..., 0] = 128
    probabilities[truth == 6] = [0, 0, 0, 255]
    order = list(CLASSES).index("liver") + 1
    probabilities[..., [3, order]] = probabilities[..., [order, 3]]
    write_nifti(tmp_path / "propagation" / "case_1_probabilities.nii.gz", probabilities, affine)
    PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(seed_probability=0.85)).run()
    np.testing.assert_array_equal(_result(tmp_path)[0], truth)


def test_background_that_is_not_beyond_doubt_does_not_stop_a_class(tmp_path, make_case):
    """Votes doubt the rim of the liver: as seeds of background they cut it off."""
    case, truth, affine = make_case("RAS")
    _propagated(tmp_path, case, _points(affine))
    probabilities = np.zeros((*SHAPE, 4), dtype=np.uint8)
    order = list(CLASSES).index("liver") + 1
    liver = truth == 6
    core = ndimage.binary_erosion(liver)
    assert core.any()
    probabilities[..., 0] = np.where(liver, np.where(core, 0, 230), 255)  # the rim: 0.9
    probabilities[..., order] = 255 - probabilities[..., 0]
    write_nifti(tmp_path / "propagation" / "case_1_probabilities.nii.gz", probabilities, affine)

    def livers(**settings):
        PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(seed_probability=0.8, **settings)).run()
        return _result(tmp_path)[0] == 6

    np.testing.assert_array_equal(livers(), core)
    np.testing.assert_array_equal(livers(background_seed_probability=0.97), liver)


def test_where_intensities_tell_nothing_the_votes_draw_the_border(tmp_path, make_case, write_volume):
    """One tissue everywhere; votes fall along x from the liver to the background, slowly, then fast."""
    case, _, affine = make_case("RAS")
    image = np.full(SHAPE, ORGAN_HU)
    image[-1, -1, -1] = FAT_HU  # a constant volume is refused
    write_volume(tmp_path, image, affine, "case_1.nii.gz")
    _propagated(tmp_path, case, _points(affine, without=["spleen", "left_kidney"]))
    fall = np.concatenate([np.linspace(1.0, 0.6, 20), np.linspace(0.5, 0.0, 4)])[:, None, None]
    probabilities = np.zeros((*SHAPE, 4))
    order = list(CLASSES).index("liver") + 1
    probabilities[..., order], probabilities[..., 0] = fall, 1 - fall
    write_nifti(
        tmp_path / "propagation" / "case_1_probabilities.nii.gz", (probabilities * 255).round().astype(np.uint8), affine
    )

    def shares(**settings):
        settings = GeodesicSettings(seed_probability=0.8, background_seed_probability=0.9, **settings)
        PseudoLabeller(_cohort(tmp_path, case), tmp_path, settings).run()
        return (_result(tmp_path)[0] == 6).mean(axis=(1, 2))

    by_votes, by_length = shares(probability_weight=0.5), shares()
    assert np.array_equal(by_votes, by_votes.round()) and (np.diff(by_votes) <= 0).all(), "whole planes, from one side"
    assert fall[int(by_votes.sum()) - 1, 0, 0] == pytest.approx(0.5, abs=0.12), "half way from 0.8 to 0.1"
    assert by_length.sum() < by_votes.sum() - 2, "without votes it is half the way in millimetres"


def test_smoothing_keeps_fingers_of_noise_out_of_the_borders(tmp_path, make_case, write_volume):
    case, truth, affine = make_case("LAS")
    noise = np.random.default_rng(0).normal(0, 120, SHAPE)
    write_volume(tmp_path, np.where(truth > 0, ORGAN_HU, FAT_HU) + noise, affine, "case_1.nii.gz")
    _propagated(tmp_path, case, _points(affine))

    def dice(**settings):
        PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(**settings)).run()
        found = _result(tmp_path)[0]
        return np.mean([dice_of(found == value, truth == value) for value in CLASSES.values()])

    plain, image, border = dice(), dice(image_smoothing_voxels=0.8), dice(border_smoothing_voxels=0.8)
    assert image > plain + 0.05 and border > plain + 0.02, (plain, image, border)


@pytest.mark.parametrize("name", ["image_smoothing_voxels", "border_smoothing_voxels"])
def test_a_width_is_not_negative(name):
    with pytest.raises(BundleError, match=f"{name} is a width"):
        GeodesicSettings(**{name: -1.0})


def test_paths_that_know_votes_need_torch():
    with pytest.raises(BundleError, match="vote_weight is not usable"):
        GeodesicSettings(probability_weight=0.1, backend="geodistk")


def test_the_cached_volume_serves_at_the_cohorts_spacing(tmp_path, make_case, write_volume):
    case, truth, affine = make_case("RAS")
    _propagated(tmp_path, case, _points(affine))
    (tmp_path / "cache").mkdir()
    write_volume(tmp_path / "cache", normalise_hu(np.where(truth > 0, ORGAN_HU, FAT_HU)), affine, "case_1.nii")
    write_volume(tmp_path, truth * 0.0, affine, "case_1.nii.gz")  # of no use but for its grid
    PseudoLabeller(
        _cohort(tmp_path, case, spacing_mm=SPACING_MM), tmp_path, GeodesicSettings(spacing_mm=SPACING_MM)
    ).run()
    np.testing.assert_array_equal(_result(tmp_path)[0], truth)


def test_a_class_not_located_is_listed_and_absent(tmp_path, make_case):
    case, _, affine = make_case()
    _propagated(tmp_path, case, _points(affine, without=["left_kidney"]))
    PseudoLabeller(_cohort(tmp_path, case), tmp_path).run()
    label, _, record = _result(tmp_path)
    assert record["not_located"] == ["left_kidney"] and record["volume_ml"]["left_kidney"] == 0.0
    assert set(np.unique(label)) == {0, 1, 6}


def test_no_background_point_and_no_point_at_all_do_not_crash(tmp_path, make_case):
    case, truth, affine = make_case()
    _propagated(tmp_path, case, [point for point in _points(affine) if point["label"]])
    cohort = _cohort(tmp_path, case)
    PseudoLabeller(cohort, tmp_path).run()
    np.testing.assert_array_equal(_result(tmp_path)[0], truth)
    _propagated(tmp_path, case, [])
    PseudoLabeller(cohort, tmp_path).run()
    label, _, record = _result(tmp_path)
    assert not label.any() and record["not_located"] == list(CLASSES)


def test_on_a_shared_voxel_classes_beat_background_and_the_score_decides(tmp_path, make_case):
    case, _, affine = make_case()
    disputed = [_point("liver", (6, 6, 7), affine, 0.3), _point("background", (6, 6, 7), affine, 0.9)]
    outside = [_point("spleen", (-40, 6, 7), affine, 0.9), _point("background", (0, 6, 7), affine, 0.99)]
    _propagated(tmp_path, case, [*_points(affine), *disputed, *outside])
    PseudoLabeller(_cohort(tmp_path, case), tmp_path, GeodesicSettings(largest_component=False)).run()
    label = _result(tmp_path)[0]
    np.testing.assert_array_equal(label[3:10, 3:10, 3:12], 1)
    assert label[0, 6, 7] == 1  # the point outside the volume was clamped to its edge


def test_only_what_changed_is_labelled_again(tmp_path, make_case):
    (first, _, affine), (second, _, _) = make_case(name="a"), make_case(name="b")
    third, _, _ = make_case(name="c")
    cohort = _cohort(tmp_path, first, second, third)
    for case in (first, second):
        _propagated(tmp_path, case, _points(affine))
    assert PseudoLabeller(cohort, tmp_path).run() == ["a", "b"]
    assert PseudoLabeller(cohort, tmp_path).run() == []
    _propagated(tmp_path, second, _points(affine, without=["liver"]))
    assert PseudoLabeller(cohort, tmp_path).run() == ["b"]
    (tmp_path / "pseudo_labels" / "a.nii.gz").unlink()
    assert PseudoLabeller(cohort, tmp_path).run() == ["a"]
    (tmp_path / "pseudo_labels" / "a.json").write_text("{")
    assert PseudoLabeller(cohort, tmp_path).run(["a"]) == ["a"]
    assert PseudoLabeller(cohort, tmp_path, GeodesicSettings(lam=0.9)).run() == ["a", "b"]


def test_ranks_share_the_cases(tmp_path, make_case, monkeypatch):
    cases = [make_case(name=name) for name in "abc"]
    for case, _, affine in cases:
        _propagated(tmp_path, case, _points(affine))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    labeller = PseudoLabeller(_cohort(tmp_path, *(case for case, _, _ in cases)), tmp_path)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    assert labeller.run() == ["a", "c"]
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert labeller.run() == ["b"]


def test_problems_are_named(tmp_path, make_case):
    case, _, affine = make_case()
    labeller = PseudoLabeller(_cohort(tmp_path, case), tmp_path)
    with pytest.raises(BundleError, match="no case has propagated points"):
        labeller.run()
    _propagated(tmp_path, case, [_point("liver", (1, 1, 1), affine) | {"label": 9}])
    with pytest.raises(BundleError, match=r"case case_1(?s:.*)other classes(?s:.*)found: \[9\]"):
        labeller.run()
    _propagated(tmp_path, case, _points(affine))
    (tmp_path / "propagation" / "case_2.json").write_text('{"points": []}')
    with pytest.raises(BundleError, match="not in the cohort"):
        labeller.run(["case_2"])


def test_refinement_of_an_empty_label_map_changes_nothing(tmp_path, make_case, write_volume):
    case, truth, affine = make_case("RAS")
    _propagated(tmp_path, case, [])
    (tmp_path / "cache").mkdir()
    write_volume(tmp_path / "cache", truth * 0.1, affine, "case_1.nii")
    card = {"patch_size": [32, 16, 16], "width": 2, "pooling": 1, "spacing_mm": SPACING_MM, "max_offset_mm": [9, 9, 9]}
    write_model(tmp_path / "fine", PRNet((32, 16, 16), width=2), card)
    settings = GeodesicSettings(spacing_mm=SPACING_MM, refine=True)
    PseudoLabeller(_cohort(tmp_path, case, spacing_mm=SPACING_MM), tmp_path, settings, tmp_path / "fine").run()
    assert not _result(tmp_path)[0].any()


def test_refinement_needs_its_network_and_the_cached_grid(tmp_path, make_case):
    case, _, _ = make_case()
    cohort = _cohort(tmp_path, case)
    with pytest.raises(BundleError, match="refinement needs the fine PRNet"):
        PseudoLabeller(cohort, tmp_path, GeodesicSettings(refine=True))
    with pytest.raises(BundleError, match=r"cached volumes' grid(?s:.*)\[4.0, 4.0, 4.0\] mm(?s:.*)found: \(3.0"):
        PseudoLabeller(cohort, tmp_path, GeodesicSettings(refine=True, spacing_mm=(3, 3, 3)), fine_dir=tmp_path)


def test_refinement_redraws_borders_on_the_cases_own_grid(tmp_path, make_case, write_volume, monkeypatch):
    case, truth, affine = make_case("RAS")
    _propagated(tmp_path, case, _points(affine))
    (tmp_path / "cache").mkdir()
    write_volume(tmp_path / "cache", normalise_hu(np.where(truth > 0, ORGAN_HU, FAT_HU)), affine, "case_1.nii")
    card = {"patch_size": [32, 16, 16], "width": 2, "pooling": 1, "spacing_mm": SPACING_MM, "max_offset_mm": [9, 9, 9]}
    write_model(tmp_path / "fine", PRNet((32, 16, 16), width=2), card)
    smaller = truth.copy()
    smaller[3], smaller[:, :, 11] = 0, 0  # what the features call an organ

    def features(network, image, patch_size, **_):
        assert image.shape == SHAPE and patch_size == (32, 16, 16)
        return np.stack([smaller == value for value in (0, *CLASSES.values())]).astype(np.float32)

    monkeypatch.setattr("scripts.pseudo_labels.labeller.dense_features", features)
    settings = GeodesicSettings(spacing_mm=SPACING_MM, refine=True)
    PseudoLabeller(_cohort(tmp_path, case, spacing_mm=SPACING_MM), tmp_path, settings, tmp_path / "fine").run()
    np.testing.assert_array_equal(_result(tmp_path)[0], smaller)


def test_the_config_labels_a_prepared_cohort(tmp_path, make_case):
    (case, truth, affine), _ = make_case(name="case_1"), make_case("LPS", name="case_2")
    (tmp_path / "images").mkdir()
    for name in ("case_1.nii.gz", "case_2.nii.gz"):
        (tmp_path / name).rename(tmp_path / "images" / name)
    strokes = np.zeros(SHAPE, dtype=np.uint8)
    strokes[6, 6, 7], strokes[17, 6, 7], strokes[12, 15, 7], strokes[0, 0, 0] = 1, 3, 6, 14
    nib.save(nib.Nifti1Image(strokes, affine), tmp_path / "strokes.nii.gz")
    support = tmp_path / "images" / "case_1.nii.gz"
    output_dir = tmp_path / "output"
    prepare_cohort(tmp_path / "images", output_dir, (4, 4, 4), support, tmp_path / "strokes.nii.gz", CLASSES, 14)
    _propagated(output_dir, case, _points(affine))
    run("run", config_file=str(CONFIG), output_dir=str(output_dir), device="cpu")
    label, image, record = _result(output_dir)
    np.testing.assert_array_equal(label, truth)
    np.testing.assert_array_equal(image.affine, affine)
    assert record["settings"]["truncation"] == 1.0
