"""Random state as a function of (seed, epoch), so that a resumed run equals the uninterrupted one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism

_EPOCH_STRIDE = 100_003
_SEED_RANGE = 2**31


def seed_run(seed: int) -> None:
    """Seed everything, and let cuDNN choose its fastest kernels.

    Windows have one size, so the choice is made once. A run on a GPU repeats but for rounding; on a CPU, to the bit.
    """
    set_determinism(seed=seed, use_deterministic_algorithms=False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True


class ReseedEachEpoch:
    """Ignite handler that seeds Python, NumPy, torch and the dataset's transforms when an epoch starts.

    With a state that depends on the seed and the epoch alone, no generator has to be stored in a checkpoint.

    Args:
        seed: seed of everything random in the training.
        dataset: a MONAI dataset whose random transforms are seeded too.
        rank: process rank of a distributed run; ranks draw differently.
    """

    def __init__(self, seed: int, dataset: Any = None, rank: int = 0) -> None:
        self.seed, self.dataset, self.rank = seed, dataset, rank

    def attach(self, engine: Engine) -> None:
        """Register on `engine`."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self.seed + _EPOCH_STRIDE * engine.state.epoch + 7919 * self.rank) % _SEED_RANGE
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        if self.dataset is not None:
            set_rnd(self.dataset, seed)
