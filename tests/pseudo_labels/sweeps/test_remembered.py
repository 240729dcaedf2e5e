"""A process that remembers distances says what one without memory says, and asks only for what is new."""

import pytest
import torch

from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.sweeps import remembered as module
from scripts.pseudo_labels.sweeps.remembered import RememberedDistances, remember_distances, remembered

SPACING_MM = (1.0, 1.5, 2.0)
SHAPE = (6, 5, 4)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(module, "_remembered", None)


def seed(*place):
    seeds = torch.zeros(1, *SHAPE, dtype=torch.bool)
    seeds[0][place] = True
    return seeds


def noise(number=0):
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(number))


def asked(memory, image, seeds, settings=(1.0,)):
    """How many sets the solver was asked for."""
    sizes = []
    memory.solve(image, seeds, settings, lambda some: sizes.append(len(some)) or some.float())
    return sum(sizes)


def test_only_new_seed_sets_are_asked_for():
    memory, image = RememberedDistances(2**20), noise()
    first, second, third = seed(0, 0, 0), seed(5, 4, 3), seed(2, 2, 2)
    assert asked(memory, image, torch.cat([first, second])) == 2
    assert asked(memory, image, torch.cat([second, third])) == 1
    assert asked(memory, image, torch.cat([third, second])) == 0, "in whichever order"
    assert asked(memory, image, first) == 1, "of the last call alone"


def test_another_image_or_setting_is_asked_for_anew():
    memory = RememberedDistances(2**20)
    assert [asked(memory, noise(number), seed(0, 0, 0)) for number in (0, 1)] == [1, 1]
    assert asked(memory, noise(1), seed(0, 0, 0), (2.0,)) == 1


def test_what_is_too_much_is_not_kept():
    memory = RememberedDistances(4 * 6 * 5 * 4 - 1)
    assert [asked(memory, noise(), seed(0, 0, 0)) for _ in range(2)] == [1, 1] and not memory.known


def test_distances_of_a_gpu_are_kept_in_the_memory_of_the_machine():
    class OnGpu(torch.Tensor):
        """Says that it is moved to the CPU only when it is asked to."""

        def to(self, *args, **kwargs):
            assert args == ("cpu",)
            return super().to(*args, **kwargs).as_subclass(torch.Tensor)

    memory = RememberedDistances(2**20)
    found = memory.solve(noise(), seed(0, 0, 0), (), lambda some: some.float().as_subclass(OnGpu))
    assert isinstance(found, OnGpu)
    assert [type(kept) for kept in memory.known.values()] == [torch.Tensor]


def test_what_a_caller_does_to_its_distances_changes_nothing_remembered():
    memory = RememberedDistances(2**20)
    memory.solve(noise(), seed(0, 0, 0), (), lambda some: some.float()).fill_(9.0)
    assert memory.solve(noise(), seed(0, 0, 0), (), lambda some: some.float()).max() == 1.0


def test_distances_are_those_without_memory_bit_by_bit():
    image, walls = noise(), (seed(0, 0, 0), seed(5, 4, 3), seed(2, 2, 2))
    before, after = torch.cat(walls[:2]), torch.cat(walls[1:])
    expected = [geodesic_distance(image, seeds, SPACING_MM, truncation=0.7) for seeds in (before, after)]
    remember_distances(2**20)
    assert remembered() is not None
    for seeds, distance in zip((before, after, before), (*expected, expected[0]), strict=True):
        assert torch.equal(geodesic_distance(image, seeds, SPACING_MM, truncation=0.7), distance)
