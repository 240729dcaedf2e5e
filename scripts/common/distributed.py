"""Sharing a cohort among the processes of one launcher."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes: (0, 1) outside a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def join_together(device: str | torch.device, timeout_hours: float = 12.0) -> None:
    """Begin the process group that the launcher has laid out, with this process on `device`.

    Args:
        device: a GPU of its own, or the CPU.
        timeout_hours: how long processes wait for one that prepares a cohort.
    """
    device, waits = torch.device(device), timedelta(hours=timeout_hours)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=waits)


def leave_together() -> None:
    """End the process group once every process has come this far.

    One that leaves while another still works, or writes the model, can bring gloo's threads down with an abort.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
