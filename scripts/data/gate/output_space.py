"""Whether the output folder can take what a cohort needs, before any of it is written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from scripts.common.errors import BundleError
from scripts.data.case import check_distinct_names
from scripts.data.cohort import STAGE
from scripts.data.volume_cache import VolumeCache


def check_output(cache: VolumeCache, sources: Mapping[str, Path]) -> None:
    """Refuse a folder that cannot be written, lacks space for the cache, or cannot tell the cases' names apart.

    Args:
        cache: of the output folder.
        sources: case -> the input.

    Raises:
        BundleError: what is wrong with it.
    """
    try:
        cache.files.path.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=cache.output_dir, prefix=".probe-") as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            check_distinct_names(sources, Path(probe.name))
        free = shutil.disk_usage(cache.output_dir).free
    except OSError as error:
        raise BundleError(
            "the output folder cannot be written",
            stage=STAGE,
            file=cache.output_dir,
            expected="a writable folder with free space",
            found=error,
        ) from error
    needed = cache.missing_bytes(sources)
    if needed > free:
        raise BundleError(
            "the output folder has too little free space",
            stage=STAGE,
            file=cache.output_dir,
            expected=f"{needed / 1e6:.1f} MB for the cache",
            found=f"{free / 1e6:.1f} MB",
        )
