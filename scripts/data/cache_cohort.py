"""Every volume of a cohort through the gate and into the cache, one by one, here or by workers; again if replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.common.case_stage import counted
from scripts.common.errors import BundleError
from scripts.common.failures import stops_every_case
from scripts.common.names import some_of
from scripts.common.sharing.crew import outcomes, value_or_reason
from scripts.common.sharing.one_thread import one_thread
from scripts.data.case import Case
from scripts.data.cohort import STAGE, Cohort, load_cohort, write_cohort
from scripts.data.gate.admission import admit
from scripts.data.gate.modality import Modality
from scripts.data.volume_cache import CachedCase, VolumeCache, source_mark
from scripts.data.volume_io import Volume

logger = logging.getLogger(__name__)

MOST_NAMES = 10


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
    present = cache.find(name, source)
    if present is not None:
        return present
    mark = None
    with suppress(OSError):  # told when the volume is read
        mark = source_mark(source)
    return replace(admit(source, strict, cache.modality), source_mark=mark)


def present_cohort(output_dir: str | Path) -> Cohort:
    """As `load_cohort`, for a config that is run by itself: nobody else looks for images that were replaced since.

    They are cached again and noted, so that whatever was made of them is made again. No image is read unless its path,
    size or time changed; those that are gone stay as they were cached.

    Raises:
        BundleError: see `load_cohort`; or what came is no good volume, or on another grid than the support's strokes.
    """
    cohort = load_cohort(output_dir)
    cache = VolumeCache(
        cohort.output_dir, cohort.spacing_mm, Modality(cohort.modality, bias_correction=cohort.bias_correction)
    )
    found = {name: _as_it_is(cache, cohort, case) for name, case in cohort.cases.items() if cache.is_touched(case)}
    replaced = {name: now for name, now in found.items() if now.case.sha256 != cohort.cases[name].sha256}
    if not replaced:
        return cohort
    images = "1 image was" if len(replaced) == 1 else f"{len(replaced)} images were"
    words = "%s replaced since the cohort was prepared, and what was made of %s is made again: %s"
    logger.warning(words, images, "it" if len(replaced) == 1 else "them", some_of(list(replaced), MOST_NAMES))
    warnings = {name: sentences for name, sentences in cohort.warnings.items() if name not in replaced}
    warnings |= {name: now.warnings for name, now in replaced.items() if now.warnings}
    cases = {name: replaced[name].case if name in replaced else case for name, case in cohort.cases.items()}
    cohort = replace(cohort, cases=cases, warnings=warnings)
    write_cohort(cohort)
    return cohort


def _as_it_is(cache: VolumeCache, cohort: Cohort, before: Case) -> CachedCase:
    """A case whose source was touched, cached again if that is another image."""
    with one_thread():
        present = find_or_read(cache, before.id, before.source, strict=before.id == cohort.support)
        case = cache.described(before.id, before.source, present)
        same_grid = (case.shape, case.affine) == (before.shape, before.affine)
        if before.id == cohort.support and cohort.scribbles is not None and not same_grid:
            raise BundleError(
                "the support was replaced by a volume on another grid, which its strokes do not fit",
                case=before.id,
                stage=STAGE,
                file=before.source,
                expected="the former volume, or the cohort prepared again with strokes on this one",
            )
        return cache.stored(case, present)
