"""Processor time, time and memory of a step."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

from bundle.pipeline.state import with_peak_memory


def measured(action: Callable[[], Any]) -> dict[str, float]:
    """Seconds of all processors, seconds on the clock, and the process's peak resident memory in MB meanwhile."""
    if sys.platform == "linux":  # what earlier steps freed counts for none of the next ones
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
    processor_s, clock_s = time.process_time(), time.perf_counter()
    _, peak_mb = with_peak_memory(action)
    return {
        "cpu_s": round(time.process_time() - processor_s, 2),
        "wall_s": round(time.perf_counter() - clock_s, 2),
        "peak_mb": round(peak_mb),
    }
