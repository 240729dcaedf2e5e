"""Propagation with oracle networks, whose position is the true coordinate: every point must land exactly."""

import numpy as np
import pytest
import torch

from scripts.networks.prnet import LEVELS
from scripts.networks.prnet_weights import TrainedPRNet
from scripts.point_propagation.propagator import PropagationSettings, Propagator, starting_points

SPACING_MM = (2.0, 3.0, 5.0)
SHAPE = (24, 20, 16)
PATCH = (4, 4, 4)
MAX_OFFSET_MM = (80.0, 90.0, 120.0)
FINE_OFFSET_MM = (30.0, 30.0, 30.0)


class Oracle:
    """Reads a coordinate u (mm per axis) off the centre voxel's value and returns p with r * tanh(p0 - p1) = u0 - u1.

    tanh(p0 - p1) is not additive, so this holds exactly for pairs with a fixed end only: `reference_mm` is that end.
    `bias_mm` is added to the coordinates, as a network would err.
    """

    patch_size = PATCH

    def __init__(self, lookup, reference_mm, max_offset_mm, bias_mm=(0.0, 0.0, 0.0)):
        self.lookup = lookup
        self.reference_mm = torch.as_tensor(reference_mm).double()
        self.reach = torch.as_tensor(max_offset_mm).double()
        self.bias_mm = torch.as_tensor(bias_mm).double()
        self.batches = []

    def position(self, patches):
        self.batches.append(len(patches))
        values = patches[:, 0, PATCH[0] // 2, PATCH[1] // 2, PATCH[2] // 2].double().round().long()
        coordinates = self.lookup[values] + self.bias_mm * (values >= 0)[:, None]
        # -atanh, because the reference (patch 0, the support point) has p = 0.
        return -torch.atanh((self.reference_mm - coordinates) / self.reach)

    def describe(self, patches):
        position = self.position(patches)
        code = patches[:, 0, PATCH[0] // 2, PATCH[1] // 2, PATCH[2] // 2]
        # A direction of its own for each voxel: the cosine is 1 at the same voxel only.
        return position, {level: torch.stack([code.cos(), code.sin()], dim=1) for level in LEVELS}


def numbered():
    """A volume (1, X, Y, Z) whose value is the voxel's number from 1, and the lookup number -> place in mm."""
    volume = torch.arange(1, int(np.prod(SHAPE)) + 1).reshape(1, *SHAPE).float()
    places = torch.as_tensor(np.argwhere(np.ones(SHAPE))).double() * torch.tensor(SPACING_MM).double()
    return volume, torch.cat([torch.full((1, 3), float("nan")).double(), places])


def propagate(volume, lookup, target, coarse_bias_mm=(0.0, 0.0, 0.0), body=None, **settings):
    """Locate one point whose true place is voxel `target`."""
    target_mm = torch.tensor(target).double() * torch.tensor(SPACING_MM).double()
    coarse = Oracle(lookup, target_mm, MAX_OFFSET_MM, coarse_bias_mm)
    fine = Oracle(lookup, target_mm, FINE_OFFSET_MM)
    propagator = Propagator(
        TrainedPRNet(coarse, SPACING_MM, MAX_OFFSET_MM),
        TrainedPRNet(fine, SPACING_MM, FINE_OFFSET_MM),
        PropagationSettings(**{"bfloat16": False, "start_points": 7, **settings}),
    )
    support = propagator.describe_support(volume, torch.ones(SHAPE, dtype=torch.bool), torch.tensor([target]))
    # The support point is the reference: its p is 0 in both networks, whatever the query's bias.
    support.coarse.zero_(), support.fine.zero_()
    body = torch.ones(SHAPE, dtype=torch.bool) if body is None else body
    return propagator.locate(volume, body, support), propagator


def millimetres(located, target):
    return np.abs((located.voxels - np.array(target)) * SPACING_MM).max()


TARGETS = [(3, 4, 5), (20, 2, 14), (0, 19, 0), (23, 19, 15)]


@pytest.mark.parametrize("target", TARGETS)
def test_coarse_step_lands_exactly(target):
    located, _ = propagate(*numbered(), target, fine_steps=0)
    assert millimetres(located, target) < 1e-3
    assert located.voxels.shape == (1, 3)
    assert {level: values.tolist() for level, values in located.similarities.items()} == {
        level: [pytest.approx(1)] for level in LEVELS
    }


@pytest.mark.parametrize("target", [(3, 4, 5), (20, 5, 12), (11, 10, 8)])
def test_fine_step_repairs_a_coarse_error(target):
    bias_mm = (9.0, -11.0, 12.0)  # an exact multiple of the spacing on no axis
    coarse_only, _ = propagate(*numbered(), target, coarse_bias_mm=bias_mm, fine_steps=0)
    assert millimetres(coarse_only, target) > 5
    refined, _ = propagate(*numbered(), target, coarse_bias_mm=bias_mm, fine_steps=1)
    assert millimetres(refined, target) < 1e-3


def test_settled_points_stay():
    bias_mm = (1.0, 0.0, 0.0)  # the coarse error: half a voxel and more to the left
    target = (10, 10, 10)
    moved, _ = propagate(*numbered(), target, coarse_bias_mm=bias_mm, fine_steps=3, settled_mm=0.0)
    assert millimetres(moved, target) < 1e-3
    stayed, propagator = propagate(*numbered(), target, coarse_bias_mm=bias_mm, fine_steps=3, settled_mm=3.0)
    assert millimetres(stayed, target) == pytest.approx(1.0, abs=1e-3)
    assert len(propagator.fine.network.batches) == 3, "support, one fine step that moved nothing, description"


def test_places_outside_are_clamped_to_the_volume():
    target = (22, 18, 15)
    located, _ = propagate(*numbered(), target, coarse_bias_mm=(-30.0, -30.0, -30.0), fine_steps=0)
    assert located.voxels.tolist() == [[23, 19, 15]]
    located, _ = propagate(*numbered(), (1, 1, 1), coarse_bias_mm=(30.0, 30.0, 30.0), fine_steps=0)
    assert located.voxels.tolist() == [[0, 0, 0]]


def test_one_wrong_start_does_not_matter():
    """The median over the starting points ignores starts at which the network fails."""
    volume, lookup = numbered()
    starts = starting_points(torch.ones(SHAPE, dtype=torch.bool), 7, seed=0)
    wrong = int(volume[(0, *starts[2].tolist())])
    lookup[wrong] += 40.0
    target = (12, 10, 8)
    assert target not in [tuple(start) for start in starts.tolist()]
    located, _ = propagate(volume, lookup, target, fine_steps=0)
    assert millimetres(located, target) < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipping_before_or_after_is_the_same(axis):
    volume, lookup = numbered()
    target, bias_mm = (5, 13, 4), [9.0, -11.0, 12.0]
    body = volume[0] > 900
    plain, _ = propagate(volume, lookup, target, bias_mm, body, fine_steps=1)
    length = SHAPE[axis]
    flipped_lookup = lookup.clone()
    flipped_lookup[:, axis] = (length - 1) * SPACING_MM[axis] - lookup[:, axis]
    flipped_target = list(target)
    flipped_target[axis] = length - 1 - target[axis]
    flipped_bias = list(bias_mm)
    flipped_bias[axis] *= -1
    flipped, _ = propagate(
        volume.flip(axis + 1), flipped_lookup, flipped_target, flipped_bias, body.flip(axis), fine_steps=1
    )
    back = flipped.voxels.copy()
    back[:, axis] = length - 1 - back[:, axis]
    np.testing.assert_allclose(back, plain.voxels, atol=1e-4)


def test_batch_size_does_not_matter():
    volume, lookup = numbered()
    support_voxels = torch.tensor([[3, 4, 5], [20, 2, 14], [11, 9, 7], [6, 6, 6], [9, 16, 2]])

    def locate(batch_size):
        oracle = Oracle(lookup, (20.0, 30.0, 40.0), (400.0, 400.0, 400.0))
        trained = TrainedPRNet(oracle, SPACING_MM, (400.0, 400.0, 400.0))
        settings = PropagationSettings(start_points=6, batch_size=batch_size, bfloat16=False)
        propagator = Propagator(trained, trained, settings)
        support = propagator.describe_support(volume, torch.ones(SHAPE, dtype=torch.bool), support_voxels)
        located = propagator.locate(volume, torch.ones(SHAPE, dtype=torch.bool), support)
        return located, oracle.batches

    (small, small_batches), (large, large_batches) = locate(2), locate(64)
    assert max(small_batches) == 2 and max(large_batches) == 6
    assert np.array_equal(small.voxels, large.voxels)
    assert all(np.array_equal(small.similarities[level], large.similarities[level]) for level in LEVELS)
    # Offsets small against the reach are almost additive, so that all points come out near their places.
    assert np.abs((small.voxels - support_voxels.numpy()) * SPACING_MM).max() < 5


def test_similarity_is_measured_where_the_point_landed():
    """The features of the query come from the located voxel, not from the start or the coarse place."""
    volume, lookup = numbered()
    bias_mm = (9.0, -11.0, 12.0)
    coarse, _ = propagate(volume, lookup, (10, 10, 8), coarse_bias_mm=bias_mm, fine_steps=0)
    fine, _ = propagate(volume, lookup, (10, 10, 8), coarse_bias_mm=bias_mm, fine_steps=1)
    assert all(values[0] == pytest.approx(1.0) for values in fine.similarities.values())
    assert all(values[0] < 0.99 for values in coarse.similarities.values())


def test_starting_points_lie_in_the_body_and_are_spread():
    body = torch.zeros(SHAPE, dtype=torch.bool)
    body[4:20, 3:17, 2:14] = True
    starts = starting_points(body, 8, seed=3)
    assert starts.shape == (8, 3) and body[tuple(starts.T)].all()
    distances = torch.cdist(starts.float(), starts.float()) + 100 * torch.eye(8)
    assert distances.min() > 6, "spread over a body of 16 x 14 x 12 voxels, not gathered around its centre"
    assert (starts.amax(0) - starts.amin(0) > 8).all()
    assert torch.equal(starts, starting_points(body, 8, seed=3))
    assert not torch.equal(starts, starting_points(body, 8, seed=4))


def test_starting_points_of_a_tiny_and_of_an_empty_body():
    body = torch.zeros(SHAPE, dtype=torch.bool)
    body[1, 2, 3] = body[4, 5, 6] = True
    assert sorted(starting_points(body, 8, seed=0).tolist()) == [[1, 2, 3], [4, 5, 6]]
    assert starting_points(torch.zeros(SHAPE, dtype=torch.bool), 8, seed=0).shape == (8, 3)


def test_works_in_bfloat16_with_a_real_network(monkeypatch):
    from scripts.networks import precision
    from scripts.networks.prnet import PRNet

    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device_type: True)
    torch.manual_seed(0)
    trained = TrainedPRNet(PRNet((32, 16, 16), width=2).eval(), SPACING_MM, (60.0, 60.0, 60.0))
    propagator = Propagator(trained, trained, PropagationSettings(start_points=2, batch_size=3))
    volume = torch.rand(1, *SHAPE)
    support = propagator.describe_support(volume, volume[0] > 0.1, torch.tensor([[3, 4, 5], [20, 2, 14]]))
    located = propagator.locate(volume, volume[0] > 0.1, support)
    assert located.voxels.dtype == np.float64 and located.voxels.shape == (2, 3)
    assert (located.voxels >= 0).all() and (located.voxels <= np.array(SHAPE) - 1).all()
    assert all(((values >= 0) & (values <= 1.001)).all() for values in located.similarities.values())


@pytest.mark.parametrize("body_only", [False, True])
def test_a_network_of_the_body_alone_sees_zeros_outside(body_only):
    """What each network is shown: support and query, coarse and fine."""
    volume, _ = numbered()
    body = torch.zeros(SHAPE, dtype=torch.bool)
    body[10:14, 8:12, 6:10] = True

    class Watcher(Oracle):
        def __init__(self):
            self.outside = []

        def position(self, patches):
            self.outside.append(patches[:, 0, 0, 0, 0].abs().max().item() > 0)
            return torch.zeros(len(patches), 3)

        def describe(self, patches):
            return self.position(patches), dict.fromkeys(LEVELS, torch.ones(len(patches), 2))

    coarse, fine = Watcher(), Watcher()
    propagator = Propagator(
        TrainedPRNet(coarse, SPACING_MM, MAX_OFFSET_MM, body_only),
        TrainedPRNet(fine, SPACING_MM, FINE_OFFSET_MM),
        PropagationSettings(bfloat16=False, start_points=3),
    )
    corner = torch.tensor([[10, 8, 6]])  # the patch's first voxel lies outside the body
    propagator.locate(volume, body, propagator.describe_support(volume, body, corner))
    assert coarse.outside[0] is not body_only and set(fine.outside) == {True}
