import math

import numpy as np
import pytest
import torch

from scripts.data.intensity import only_body
from scripts.embedding.view_pairs import View, ViewPairsd, prepare_views, remapped, seeded_items

SPACING_MM = (1.0, 2.0, 4.0)
UPRIGHT = {"recolour": False, "scale": (1.0, 1.0), "stretch": 0.0, "cut": 0.0, "rotation_deg": 0.0}


def ramp(shape=(20, 18, 16)):
    """(3, X, Y, Z): each voxel holds its own index, so that a sampled window says where it was sampled."""
    return torch.stack(torch.meshgrid(*(torch.arange(size, dtype=torch.float32) for size in shape), indexing="ij"))


def test_an_upright_view_is_a_crop():
    view = View(np.eye(3), np.array([9.5, 8.5, 7.5]), (4, 6, 8))
    window = view.sample(ramp())
    torch.testing.assert_close(window, ramp()[:, 8:12, 6:12, 4:12], atol=1e-4, rtol=0)


def test_sampling_and_point_maths_agree():
    turn = np.array([[0.9, -0.2, 0.1], [0.1, 1.1, 0.0], [0.0, 0.1, 0.8]])
    view = View(turn, np.array([10.0, 9.0, 8.0]), (5, 5, 5))
    window = view.sample(ramp()).numpy()
    for voxel in ([0, 0, 0], [2, 2, 2], [4, 1, 3]):
        expected = turn @ (np.array(voxel) - 2) + view.centre
        assert window[(slice(None), *voxel)] == pytest.approx(expected, abs=1e-3)
        assert view.to_window(expected[None])[0] == pytest.approx(voxel, abs=1e-9)


def test_outside_the_volume_is_zero():
    assert (View(np.eye(3), np.array([100.0, 9, 8]), (4, 4, 4)).sample(ramp()) == 0).all()


def draw(seed=0, item=None, **settings):
    body = np.zeros((1, 40, 30, 20), dtype=np.uint8)
    body[0, 5:35, 5:25, 3:17] = 1
    image = np.random.default_rng(1).random((1, 40, 30, 20), dtype=np.float32)
    pairs = ViewPairsd((16, 16, 16), SPACING_MM, points=50, **settings).set_random_state(seed)
    return pairs({"image": image, "body": body, **(item or {})})


def test_points_correspond():
    drawn = draw(**UPRIGHT)
    points = drawn["places_mm"].numpy() / SPACING_MM
    assert drawn["views"].shape == (2, 1, 16, 16, 16) and drawn["voxels"].shape == (2, 50, 3)
    assert (points >= (4.5, 4.5, 2.5)).all() and (points <= (34.5, 24.5, 16.5)).all(), "they lie in the body"
    assert ((drawn["voxels"] >= 0) & (drawn["voxels"] <= 15)).all(), "and in both windows"
    shifts = drawn["voxels"].numpy() - points
    assert np.abs(shifts - shifts[:, :1]).max() < 1e-4, "upright views differ from the volume by a shift alone"


def test_outside_the_body_is_zero():
    views = draw(**UPRIGHT, shift=0.5)["views"]
    assert (views == 0).any() and (views > 0).any()
    body = torch.zeros(1, 3, 1, 1)
    body[0, 1] = 1
    assert only_body(torch.full((1, 3, 1, 1), 0.4), body).flatten().tolist() == [0, pytest.approx(0.4), 0]


def test_rotation_is_one_in_mm():
    pairs = ViewPairsd((16, 16, 16), SPACING_MM, scale=(1.2, 1.2), stretch=0.0, rotation_deg=30.0).set_random_state(3)
    view = pairs._view(np.zeros(3), slices=16)
    in_mm = np.diag(SPACING_MM) @ view.matrix @ np.diag(1 / np.array(SPACING_MM))
    assert in_mm.T @ in_mm == pytest.approx(1.44 * np.eye(3)), "lengths in mm grow by 1.2, angles stay"
    assert np.linalg.det(in_mm) > 0, "no mirroring"


def test_seeded_items_repeat_themselves():
    one, other = seeded_items([{"case": "a"}], views=2, seed=7)
    assert one == {"case": "a", "view_seed": 7} and other["view_seed"] == 8
    first, second = draw(seed=1, item=one), draw(seed=2, item=one)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(draw(item=other)["voxels"], first["voxels"])
    assert not torch.equal(draw(seed=1)["voxels"], draw(seed=2)["voxels"])


def test_batches_put_the_first_views_first():
    batch = {
        "views": torch.arange(4.0).reshape(2, 2, 1, 1, 1, 1),
        "voxels": torch.arange(4.0).reshape(2, 2, 1, 1).expand(2, 2, 1, 3),
        "places_mm": torch.zeros(2, 1, 3),
    }
    inputs, target = prepare_views(batch)
    assert inputs.flatten().tolist() == [0, 2, 1, 3] and target["voxels"][:, 0, 0].tolist() == [0, 2, 1, 3]


def test_slices_outside_a_view_are_zero():
    view = View(np.eye(3), np.array([9.5, 8.5, 7.5]), (4, 6, 8), slices=(6, 9))
    lit = view.sample(torch.ones(1, 20, 18, 16))[0].amax(dim=(0, 1))
    assert lit.tolist() == [0, 0, 1, 1, 1, 1, 0, 0], "the window begins at slice 4"


def test_cut_views_differ_in_where_they_end_and_share_their_points():
    ends = []
    for seed in range(20):
        pairs = ViewPairsd((16, 16, 16), SPACING_MM, cut=1.0, least_mm=8.0, rotation_deg=0.0).set_random_state(seed)
        views, points = pairs._overlapping(np.ones((40, 30, 20), dtype=bool))
        low, high = max(view.slices[0] for view in views), min(view.slices[1] for view in views)
        assert low <= points[:, 2].min() + 0.5 and points[:, 2].max() - 0.5 <= high
        ends += [view.slices for view in views]
    assert len(set(ends)) == 40
    assert all(low >= 0 and high <= 20 and high - low >= 2 for low, high in ends), "8 mm are two slices, or the end"
    assert ViewPairsd((16, 16, 16), SPACING_MM, cut=0.0)._slices(10, 20) == (-np.inf, np.inf)


def test_stretch_is_along_the_axes_of_the_window():
    pairs = ViewPairsd((16, 16, 16), SPACING_MM, scale=(1.0, 1.0), stretch=0.3, rotation_deg=0.0).set_random_state(3)
    matrix = pairs._view(np.zeros(3), slices=16).matrix
    lengths = np.diag(matrix)
    assert matrix == pytest.approx(np.diag(lengths)) and len(set(lengths.round(6))) == 3
    assert (np.abs(np.log(lengths)) <= 0.3).all()


def test_intensities_change_within_what_the_arguments_say():
    window = torch.full((1, 2, 2, 2), 0.25)
    still = {"log_gamma": 0.0, "gain": 0.0, "offset": 0.0, "noise": 0.0}
    ends = {"log_gamma": (0.25**2.0, 0.25**0.5), "gain": (0.125, 0.375), "offset": (0.15, 0.35)}
    for name, largest in (("log_gamma", math.log(2)), ("gain", 0.5), ("offset", 0.1)):
        pairs = ViewPairsd((16, 16, 16), SPACING_MM, **{**still, name: largest}).set_random_state(0)
        drawn = np.array([pairs._coloured(window).unique().item() for _ in range(200)])
        low, high = ends[name]
        assert (low <= drawn).all() and (drawn <= high).all()
        assert drawn.min() < low + 0.1 * (high - low) and drawn.max() > high - 0.1 * (high - low)
    noisy = ViewPairsd((16, 16, 16), SPACING_MM, **{**still, "noise": 0.01}).set_random_state(0)._coloured(window)
    assert 0 < noisy.std() < 0.02
    unchanged = ViewPairsd((16, 16, 16), SPACING_MM, **still).set_random_state(0)._coloured(window)
    torch.testing.assert_close(unchanged, window)


def test_a_remap_bends_at_quarters_and_keeps_the_order():
    window = torch.tensor([0.0, 0.25, 0.375, 0.5, 1.0])
    bent = remapped(window, np.array([1.0, 3.0, 2.0, 2.0]))  # quarters end at 1/8, 4/8, 6/8, 1
    torch.testing.assert_close(bent, torch.tensor([0.0, 0.125, 0.3125, 0.5, 1.0]))
    torch.testing.assert_close(remapped(window, np.full(4, 0.7)), window)
    still = {"log_gamma": 0.0, "gain": 0.0, "offset": 0.0, "noise": 0.0}
    pairs = ViewPairsd((16, 16, 16), SPACING_MM, **still, remap=0.3).set_random_state(0)
    ramp = torch.linspace(0, 1, 50)[None, None, None]
    assert (pairs._coloured(ramp).diff() > 0).all() and not torch.allclose(pairs._coloured(ramp), ramp)


def test_points_of_a_long_scan_are_many_places():
    body = np.ones((130, 100, 300), dtype=bool)
    distinct = []
    for seed in range(9):
        pairs = ViewPairsd((64, 64, 64), (3.0, 3.0, 3.0), points=400).set_random_state(seed)
        distinct.append(len(np.unique(pairs._overlapping(body)[1].round(), axis=0)))
    assert np.median(distinct) > 300, "what two views share is a hundredth of the body, and is looked at closely enough"


def test_a_volume_without_tissue_stops_no_training():
    item = {"image": torch.rand(1, 20, 20, 20), "body": torch.zeros(1, 20, 20, 20)}
    drawn = ViewPairsd((16, 16, 16), SPACING_MM, points=5, noise=0.0, offset=0.0).set_random_state(0)(item)
    assert drawn["voxels"].shape == (2, 5, 3) and not drawn["views"].any()
