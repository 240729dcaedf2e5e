"""Tensors that several processes need: the first one makes them and keeps a file, the others read that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.common.distributed import rank_and_world
from scripts.common.files import atomic_path, load_tensors
from scripts.common.made_of import fingerprint, is_whole, write_record


def kept_tensors(file: Path, inputs: Any, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, as they are read from the file: the same for whoever makes them and for all others.

    Args:
        file: where they are kept; a record lies beside it.
        inputs: everything that they depend on, JSON-serialisable.
        make: called unless the file was made of the same inputs and is whole.
    """
    record, made_of = file.with_suffix(".json"), fingerprint(inputs)
    if not is_whole(record, made_of):
        tensors = {name: tensor.detach().cpu() for name, tensor in make().items()}
        with atomic_path(file) as temporary, temporary.open("wb") as opened:
            torch.save(tensors, opened)
        write_record(record, {}, made_of, [file])
    return dict(load_tensors(file))


def drop_kept(folder: Path) -> None:
    """Remove a folder of kept tensors once a stage is done; under `torchrun` other processes may still read them."""
    if rank_and_world()[1] == 1:
        shutil.rmtree(folder, ignore_errors=True)
