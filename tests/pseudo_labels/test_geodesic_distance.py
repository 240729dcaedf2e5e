"""Geodesic distance against hand-computed numbers, Dijkstra and GeodisTK."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from scripts.common.errors import BundleError
from scripts.pseudo_labels.geodesic_distance import geodesic_distance

SPACING_MM = (1.0, 2.0, 3.0)


@pytest.fixture(params=["loops", "torch"])
def swept_by(request, monkeypatch):
    """By compiled loops, and as where numba is missing."""
    if request.param == "torch":
        monkeypatch.setattr("scripts.pseudo_labels.sweeps.axis_sweeps.compiled_sweep", lambda: None)
    return request.param


def _seed(shape, *voxels):
    seeds = torch.zeros(1, *shape, dtype=torch.bool)
    for voxel in voxels:
        seeds[(0, *voxel)] = True
    return seeds


def _noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def _dijkstra(image, seeds, spacing_mm, lam):
    """(K, X, Y, Z) exact distances on the 26-neighbour graph."""
    index = np.arange(image.size).reshape(image.shape)
    rows, columns, costs = [], [], []
    for step in itertools.product((-1, 0, 1), repeat=3):
        if step <= (0, 0, 0):
            continue
        start = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, image.shape, strict=True))
        end = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, image.shape, strict=True))
        length_mm = np.linalg.norm(np.multiply(step, spacing_mm))
        jump = np.abs(image[start].astype(float) - image[end]) + 1e-5
        rows.append(index[start].ravel())
        columns.append(index[end].ravel())
        costs.append((length_mm / ((1 - lam) + lam / jump)).ravel())
    graph = coo_matrix(
        (np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))), shape=(image.size,) * 2
    )
    exact = [dijkstra(graph.tocsr(), False, index[seed], min_only=True).reshape(image.shape) for seed in seeds.numpy()]
    return np.stack(exact)


@pytest.mark.usefixtures("swept_by")
def test_without_intensity_the_distance_is_the_length_of_the_shortest_path():
    distance = geodesic_distance(torch.zeros(5, 5, 5), _seed((5, 5, 5), (0, 0, 0)), SPACING_MM, lam=0.0)[0]
    assert distance[4, 0, 0] == pytest.approx(4.0)
    assert distance[0, 4, 0] == pytest.approx(8.0)
    assert distance[0, 0, 4] == pytest.approx(12.0)
    assert distance[1, 1, 0] == pytest.approx(np.sqrt(1 + 4))
    assert distance[2, 0, 1] == pytest.approx(1 + np.sqrt(1 + 9))
    assert distance[1, 1, 1] == pytest.approx(np.sqrt(1 + 4 + 9))


def test_with_intensity_alone_a_step_costs_its_length_times_the_jump():
    image = torch.tensor([0.0, 0.5, 0.5, 0.2]).reshape(4, 1, 1).repeat(1, 3, 1)
    distance = geodesic_distance(image, _seed((4, 3, 1), (0, 1, 0)), (2.0, 1.0, 1.0))[0, :, 1, 0]
    assert distance.tolist() == pytest.approx([0.0, 1.0, 1.0, 1.6], abs=1e-4)
    along_y = geodesic_distance(image.transpose(0, 1), _seed((3, 4, 1), (1, 0, 0)), (1.0, 3.0, 1.0))[0, 1, :, 0]
    assert along_y.tolist() == pytest.approx([0.0, 1.5, 1.5, 2.4], abs=1e-4)


@pytest.mark.usefixtures("swept_by")
def test_intensity_and_length_mix_harmonically():
    image = torch.tensor([0.0, 0.5]).reshape(2, 1, 1)
    distance = geodesic_distance(image, _seed((2, 1, 1), (0, 0, 0)), (3.0, 1.0, 1.0), lam=0.25)
    assert float(distance[0, 1, 0, 0]) == pytest.approx(3.0 / (0.75 + 0.25 / 0.50001), rel=1e-6)


@pytest.mark.usefixtures("swept_by")
def test_steps_of_several_channels_add_up():
    image = torch.zeros(2, 3, 1, 1)
    image[0, 1:] = 0.5
    image[1, 2] = 0.25
    distance = geodesic_distance(image, _seed((3, 1, 1), (0, 0, 0)), (2.0, 1.0, 1.0))[0, :, 0, 0]
    assert distance.tolist() == pytest.approx([0.0, 1.0, 1.5], abs=1e-4)
    alone = geodesic_distance(image[:1], _seed((3, 1, 1), (0, 0, 0)), (2.0, 1.0, 1.0))
    assert torch.equal(alone, geodesic_distance(image[0], _seed((3, 1, 1), (0, 0, 0)), (2.0, 1.0, 1.0)))


def test_the_path_goes_round_a_wall_when_that_is_cheaper():
    image = torch.zeros(5, 5, 1)
    image[2, :4] = 1.0
    distance = geodesic_distance(image, _seed((5, 5, 1), (0, 0, 0)), (1.0, 1.0, 1.0))[0, :, :, 0]
    assert float(distance[4, 0]) < 1e-3
    assert float(distance[2, 0]) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.usefixtures("swept_by")
@pytest.mark.parametrize("lam", [0.0, 0.5, 0.9, 1.0])
def test_converged_sweeps_equal_dijkstra(lam):
    image = _noise((9, 7, 8))
    seeds = torch.from_numpy(np.random.default_rng(1).random((3, 9, 7, 8)) < 0.01)
    seeds[:, 0, 0, 0] = True
    expected = _dijkstra(image, seeds, SPACING_MM, lam)
    np.testing.assert_allclose(geodesic_distance(image, seeds, SPACING_MM, lam), expected, atol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_converged_sweeps_equal_converged_geodistk(lam):
    pytest.importorskip("GeodisTK")
    image, seeds = _noise((8, 9, 7), seed=2), _seed((8, 9, 7), (1, 2, 3), (6, 0, 5))
    ours = geodesic_distance(image, seeds, SPACING_MM, lam)
    theirs = geodesic_distance(image, seeds, SPACING_MM, lam, max_iterations=50, backend="geodistk")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_geodistk_takes_any_memory_layout_and_precision():
    pytest.importorskip("GeodisTK")
    image, seeds = _noise((5, 6, 7)), _seed((5, 6, 7), (1, 2, 3))
    plain = geodesic_distance(image, seeds, SPACING_MM, max_iterations=20, backend="geodistk")
    strange = np.asfortranarray(image.astype(np.float64))
    swapped = seeds.numpy().astype(np.int64).transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0)
    assert torch.equal(geodesic_distance(strange, swapped, SPACING_MM, max_iterations=20, backend="geodistk"), plain)


@pytest.mark.usefixtures("swept_by")
def test_many_seed_sets_at_once_equal_one_at_a_time():
    image = _noise((6, 7, 8), seed=3)
    seeds = torch.cat([_seed(image.shape, (0, 0, 0)), _seed(image.shape, (5, 6, 7)), _seed(image.shape, (2, 3, 4))])
    together = geodesic_distance(image, seeds, SPACING_MM)
    for index in range(3):
        alone = geodesic_distance(image, seeds[index : index + 1], SPACING_MM)
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("swept_by")
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipping_the_image_flips_the_distance(axis):
    image, seeds = torch.from_numpy(_noise((6, 7, 8), seed=4)), _seed((6, 7, 8), (1, 5, 2))
    flipped = geodesic_distance(image.flip(axis), seeds.flip(axis + 1), SPACING_MM).flip(axis + 1)
    torch.testing.assert_close(geodesic_distance(image, seeds, SPACING_MM), flipped, atol=1e-5, rtol=0)


def test_truncation_caps_the_distance_and_changes_nothing_below():
    image, seeds = _noise((8, 8, 8), seed=5), _seed((8, 8, 8), (4, 4, 4))
    full = geodesic_distance(image, seeds, SPACING_MM)
    capped = geodesic_distance(image, seeds, SPACING_MM, truncation=0.5)
    assert float(capped.max()) == 0.5
    torch.testing.assert_close(capped, full.clamp(max=0.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("truncation", [None, 1.0])
def test_an_empty_seed_set_is_infinitely_far(truncation):
    seeds = torch.cat([_seed((4, 4, 4)), _seed((4, 4, 4), (0, 0, 0))])
    distance = geodesic_distance(torch.zeros(4, 4, 4), seeds, SPACING_MM, truncation=truncation)
    assert torch.isinf(distance[0]).all() and torch.isfinite(distance[1]).all()
    assert torch.isinf(geodesic_distance(torch.zeros(4, 4, 4), seeds[:1], SPACING_MM)).all()


@pytest.mark.usefixtures("swept_by")
def test_the_limit_of_rounds_is_kept():
    image, seeds = torch.zeros(7, 7, 1), _seed((7, 7, 1), (0, 0, 0))
    image[[1, 5], :6], image[3, 1:] = 1.0, 1.0
    once = geodesic_distance(image, seeds, (1.0, 1.0, 1.0), max_iterations=1)
    converged = geodesic_distance(image, seeds, (1.0, 1.0, 1.0))
    assert float(once[0, 6, 0, 0]) > 0.9 and float(converged[0, 6, 0, 0]) < 1e-3


def test_the_inputs_stay_as_they_were():
    image, seeds = torch.from_numpy(_noise((4, 5, 6))), _seed((4, 5, 6), (1, 1, 1))
    before = image.clone(), seeds.clone()
    geodesic_distance(image, seeds, SPACING_MM)
    assert torch.equal(image, before[0]) and torch.equal(seeds, before[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(4, 4)}, r"one volume(?s:.*)found: \(4, 4\)"),
        ({"seeds": torch.zeros(1, 4, 4, 5)}, r"seeds do not fit(?s:.*)expected: \(K, 4, 4, 4\)(?s:.*)\(1, 4, 4, 5\)"),
        ({"seeds": torch.zeros(4, 4, 4)}, "seeds do not fit"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, r"spacing is not usable(?s:.*)found: \(1.0, 0.0, 1.0\)"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing is not usable"),
        ({"lam": 1.5}, r"lambda(?s:.*)expected: 0 to 1(?s:.*)found: 1.5"),
        ({"max_iterations": 0}, "too few geodesic iterations"),
        ({"truncation": 0.0}, "truncation must be a distance"),
        ({"image": torch.full((4, 4, 4), float("nan"))}, "not finite"),
        ({"backend": "fast"}, r"unknown geodesic backend(?s:.*)found: fast"),
    ],
)
def test_bad_arguments_are_named(change, message):
    seeds = torch.ones(1, 4, 4, 4)
    arguments = {"image": torch.zeros(4, 4, 4), "seeds": seeds, "spacing_mm": SPACING_MM} | change
    with pytest.raises(BundleError, match=message):
        geodesic_distance(**arguments)


def test_a_missing_geodistk_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "GeodisTK", None)
    with pytest.raises(BundleError, match="GeodisTK is not installed"):
        geodesic_distance(torch.zeros(4, 4, 4), torch.ones(1, 4, 4, 4), SPACING_MM, backend="geodistk")


@pytest.mark.parametrize("room", [0, 20_000])
def test_costs_that_are_kept_change_nothing(room, monkeypatch):
    monkeypatch.setattr("scripts.pseudo_labels.sweeps.axis_sweeps.compiled_sweep", lambda: None)
    image, shape = _noise((2, 9, 8, 7)), (9, 8, 7)
    seeds = torch.cat([_seed(shape, (0, 0, 0)), _seed(shape, (8, 7, 6), (4, 4, 4))])
    all_kept = geodesic_distance(image, seeds, SPACING_MM, lam=0.7)
    assert torch.equal(geodesic_distance(image, seeds, SPACING_MM, lam=0.7, kept_costs_bytes=room), all_kept)


def _naive_sweeps(image, seeds, spacing_mm, limit, tolerance):
    """(K, X, Y, Z) float32 distances, one neighbour at a time in numpy, until three sweeps change nothing."""
    distance = np.where(seeds, np.float32(0), np.float32(np.inf))
    quiet = sweeps = 0
    while quiet < 3:
        axis, before = sweeps % 3, distance.copy()
        planes, values = np.moveaxis(distance, axis + 1, 1), np.moveaxis(image, axis + 1, 1)
        length, mm = planes.shape[1], np.float32([step for other, step in enumerate(spacing_mm) if other != axis])
        for plane, beside in [(i, i - 1) for i in range(1, length)] + [(i, i + 1) for i in range(length - 2, -1, -1)]:
            for step in itertools.product((-1, 0, 1), repeat=2):
                to = (
                    slice(None),
                    *(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, planes.shape[2:], strict=True)),
                )
                at = (
                    slice(None),
                    *(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, planes.shape[2:], strict=True)),
                )
                jumps = np.abs(values[:, plane][to] - values[:, beside][at])
                jumps[0] += np.float32(1e-5)
                along = np.float32(spacing_mm[axis] ** 2) + (step[0] * mm[0]) ** 2 + (step[1] * mm[1]) ** 2
                path = planes[:, beside][at] + (jumps[0] + jumps[1]) * np.sqrt(along)
                np.minimum(planes[:, plane][to], path, out=planes[:, plane][to])
        fell = distance < np.minimum(before, np.float32(limit)) - np.float32(tolerance)
        quiet, sweeps = (0 if fell.any() else quiet + 1), sweeps + 1
    return distance


@pytest.mark.usefixtures("swept_by")
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("limit", "noise"), [(np.inf, 5), (0.6, 18)])
def test_distances_are_those_of_naive_sweeps_bit_by_bit(limit, noise, threads, monkeypatch):
    """Two walls, and a tolerance at which sweeps end before all is settled: one more or one less would show."""
    shape = (7, 6, 9)
    image = np.float32(0.2) * np.random.default_rng(noise).random((2, *shape)).astype(np.float32)
    image[0, 2, :-1] += 1
    image[0, 4, 1:] += 1
    seeds = torch.cat([_seed(shape, (0, 0, 0)), _seed(shape, (6, 5, 8), (3, 3, 4)), _seed(shape, (3, 0, 0))])
    alone = [_naive_sweeps(image, seeds[[number]].numpy(), SPACING_MM, limit, 0.1) for number in range(len(seeds))]
    expected = np.minimum(np.concatenate(alone), np.float32(limit))
    truncation = None if limit == np.inf else limit
    monkeypatch.setattr("scripts.common.sharing.threads.allowed_threads", lambda: threads)
    found = geodesic_distance(image, seeds, SPACING_MM, truncation=truncation, tolerance=0.1)
    np.testing.assert_array_equal(found.numpy(), expected)
