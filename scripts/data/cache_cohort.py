"""Every volume of a cohort through the gate and into the cache, one by one, here or by workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.case_stage import counted
from scripts.common.errors import BundleError
from scripts.common.failures import stops_every_case
from scripts.common.sharing.crew import outcomes, value_or_reason
from scripts.common.sharing.one_thread import one_thread
from scripts.data.cohort import STAGE
from scripts.data.gate.admission import admit
from scripts.data.volume_cache import CachedCase, VolumeCache
from scripts.data.volume_io import Volume


@dataclass(frozen=True)
class CachedSources:
    """What became of the sources, by their names.

    Attributes:
        cases: good ones.
        left_out: why others are no cases.
        dropped: a sentence for each copy of the support.
    """

    cases: dict[str, CachedCase]
    left_out: dict[str, BundleError]
    dropped: list[str]


@dataclass(frozen=True)
class _CacheJob:
    """Caches one source after the other; what is no good volume comes back as the reason why."""

    cache: VolumeCache

    def start(self) -> Callable[[Any], CachedCase | BundleError]:
        return self._cached

    def _cached(self, item: tuple[str, Path]) -> CachedCase | BundleError:
        name, source = item
        with one_thread():
            try:
                present = find_or_read(self.cache, name, source)
            except BundleError as error:
                if stops_every_case(error):
                    raise
                return error
            return self.cache.stored(self.cache.described(name, source, present), present)


def cache_all(cache: VolumeCache, sources: Mapping[str, Path], support: CachedCase | None) -> CachedSources:
    """Cache every source but the support, which is cached already.

    Raises:
        BundleError: memory or the disk is short.
    """
    found: dict[str, CachedCase | BundleError] = {} if support is None else {support.case.id: support}
    todo = {name: (name, source) for name, source in sorted(sources.items()) if name not in found}
    with closing(outcomes(_CacheJob(cache), todo)) as made:
        for outcome in counted(made, STAGE, len(todo)):
            found[outcome.case] = value_or_reason(outcome)
    names = sorted(found)
    good = {name: case for name in names if isinstance(case := found[name], CachedCase)}
    copies = [name for name, case in good.items() if support and case is not support and case.voxels == support.voxels]
    dropped = [f"{name} is a copy of the support {support.case.id} and was dropped." for name in copies if support]
    return CachedSources(
        {name: case for name, case in good.items() if name not in copies},
        {name: error for name in names if isinstance(error := found[name], BundleError)},
        dropped,
    )


def find_or_read(cache: VolumeCache, name: str, source: Path, strict: bool = False) -> CachedCase | Volume:
    """What the cache holds of a source, or its content if that may be a case; the support is judged more strictly."""
    return cache.find(name, source) or admit(source, strict, cache.modality)
