import random

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, RandLambda

from scripts.training.determinism import ReseedEachEpoch, seed_run


def drawn(first_epoch=0, epochs=3, seed=133, rank=0, workers=0):
    """What every generator draws in the epochs after `first_epoch`, with whatever state the process had."""
    transform = Compose([RandLambda(prob=0.5, func=lambda x: x + 100)])
    dataset = CacheDataset([torch.tensor(float(n)) for n in range(8)], transform, progress=False)
    loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=workers)
    rows = []

    def step(_, batch):
        rows.append([*batch.tolist(), random.random(), np.random.rand(), torch.rand(1).item()])

    engine = Engine(step)
    ReseedEachEpoch(seed, dataset, rank).attach(engine)
    engine.state.epoch, engine.state.iteration = first_epoch, 2 * first_epoch
    engine.state.max_epochs = epochs
    engine.run(loader)
    return rows


def test_an_epoch_depends_on_seed_and_epoch_alone():
    straight = drawn()
    torch.manual_seed(99), random.seed(99), np.random.seed(99)
    assert drawn() == straight
    assert drawn(first_epoch=2) == straight[4:], "a resumed run draws what the straight one drew"


def test_epochs_seeds_and_ranks_differ():
    straight = drawn()
    epochs = [straight[n : n + 2] for n in (0, 2, 4)]
    assert all(epochs[a] != epochs[b] for a, b in ((0, 1), (1, 2), (0, 2)))
    assert drawn(seed=134) != straight and drawn(rank=1) != straight
    assert [row[:4] for row in drawn(rank=1)] != [row[:4] for row in straight], "the samples differ too"


def test_works_without_a_dataset_and_with_large_seeds():
    engine = Engine(lambda *_: torch.rand(1).item())
    engine.state.epoch = 10**9
    ReseedEachEpoch(2**31 - 1, rank=5)(engine)
    first = torch.rand(1).item()
    ReseedEachEpoch(2**31 - 1, rank=5)(engine)
    assert torch.rand(1).item() == first


def test_a_seeded_run_repeats_itself():
    first, second = [], []
    for draws in (first, second):
        seed_run(5)
        draws += [torch.rand(1).item(), np.random.rand(), random.random()]
    assert first == second
    assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()
