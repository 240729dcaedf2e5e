import pytest

from bundle.workers.capacity import GIB, worker_count


@pytest.mark.parametrize(
    ("cores", "memory_gib", "gpu_gib", "count"),
    [
        (2, 64, None, 2),
        (16, 64, None, 16),
        (16, 23, None, 5),  # 4 GiB each
        (16, 3, None, 1),  # too little for one is one all the same
        (16, 64, 9, 2),  # all share the GPU
        (2, 64, 80, 2),
    ],
)
def test_as_many_workers_as_cores_and_memory_allow(cores, memory_gib, gpu_gib, count):
    gpu_bytes = None if gpu_gib is None else gpu_gib * GIB
    assert worker_count(cores, memory_gib * GIB, 4.0, gpu_bytes) == count
