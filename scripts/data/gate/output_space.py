"""Whether the output folder can take what a cohort needs, before any of it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from scripts.common.errors import BundleError
from scripts.data.case import check_distinct_names
from scripts.data.cohort import STAGE
from scripts.data.volume_cache import VolumeCache


def check_folder(folder: Path, names: Iterable[str], stage: str) -> None:
    """Make a folder, and refuse one that cannot be written or cannot tell the cases' names apart.

    Args:
        folder: where files of these names go.
        names: of the cases.
        stage: that asks.

    Raises:
        BundleError: what is wrong with it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            check_distinct_names(names, Path(probe.name))
    except OSError as error:
        raise BundleError(
            "the output folder cannot be written",
            stage=stage,
            file=folder,
            expected="a writable folder with free space",
            found=error,
        ) from error


def check_output(cache: VolumeCache, sources: Mapping[str, Path]) -> None:
    """Refuse a folder that cannot be written, lacks space for the cache, or cannot tell the cases' names apart.

    Args:
        cache: of the output folder.
        sources: case -> the input.

    Raises:
        BundleError: what is wrong with it.
    """
    check_folder(cache.output_dir, sources, STAGE)
    free = shutil.disk_usage(cache.output_dir).free
    needed = cache.missing_bytes(sources)
    if needed > free:
        raise BundleError(
            "the output folder has too little free space",
            stage=STAGE,
            file=cache.output_dir,
            expected=f"{needed / 1e6:.1f} MB for the cache",
            found=f"{free / 1e6:.1f} MB",
        )
