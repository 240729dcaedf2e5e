"""How many workers a machine has room for."""

from __future__ import annotations

GIB = 2**30


def worker_count(cores: int, memory_bytes: float, memory_gib: float, gpu_bytes: float | None = None) -> int:
    """As many as cores and memory allow, at least one.

    Args:
        cores: that this process may use.
        memory_bytes: that is free.
        memory_gib: that each worker may take.
        gpu_bytes: free memory of the GPU that all workers share; None where they work on the CPU.
    """
    rooms = [memory_bytes] if gpu_bytes is None else [memory_bytes, gpu_bytes]
    return max(1, min(cores, *(int(room // (memory_gib * GIB)) for room in rooms)))


def affordable_workers(memory_gib: float, device: str | None) -> int:
    """Of this machine, as far as its operating system or container lets this process have it.

    Args:
        memory_gib: that each worker may take.
        device: where networks run; None takes a GPU if there is one.
    """
    import psutil
    import torch
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    from bundle.computing_device import uses_gpu

    gpu_bytes = None
    if uses_gpu(device):
        gpu_bytes = torch.cuda.mem_get_info(device)[0]
    return worker_count(CPU_COUNT, min(MEMORY_LIMIT, psutil.virtual_memory().available), memory_gib, gpu_bytes)
