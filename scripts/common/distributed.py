"""Sharing a cohort among the processes of one launcher."""

from __future__ import annotations

import torch.distributed


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes: (0, 1) outside a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def leave_together() -> None:
    """End the process group once every process has come this far.

    One that leaves while another still works, or writes the model, can bring gloo's threads down with an abort.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
