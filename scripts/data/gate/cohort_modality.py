"""What a cohort is, CT or MR: as the user says, or as the support is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.data.gate.admission import looks_like
from scripts.data.gate.modality import AUTO, CT, MODALITIES, MR, Modality
from scripts.data.volume_cache import VolumeCache
from scripts.data.volume_io import read_volume


def check_modality_name(modality: str) -> None:
    """Refuse what is no modality.

    Raises:
        BundleError: it is none.
    """
    if modality not in MODALITIES:
        raise BundleError("unknown modality", stage="cohort", expected=", ".join(MODALITIES), found=modality)


def choose_modality(
    asked: str, bias_correction: bool, cache: VolumeCache, sources: Mapping[str, Path], support: str | None
) -> tuple[Modality, list[str]]:
    """The cohort's modality, and a sentence where that was assumed.

    Args:
        asked: "ct", "mr", or "auto": what the support is, or most volumes where there is none.
        bias_correction: see `Modality`.
        cache: knows what was read before.
        sources: case -> the input.
        support: its name.

    Raises:
        BundleError: the support cannot be read.
    """
    if asked != AUTO:
        return Modality(asked, True, bias_correction), []
    looked_at = sources if support is None else {support: sources[support]}
    kinds = [_kind(cache, name, source, name == support) for name, source in looked_at.items()]
    name = MR if kinds.count(MR) > kinds.count(CT) else CT
    whose = "most of them" if support is None else f"the support {support}"
    sentence = f"The volumes are MR, as the header or the values of {whose} say; if not, say --modality ct."
    return Modality(name, False, bias_correction), [sentence] if name == MR else []


def _kind(cache: VolumeCache, name: str, source: Path, strict: bool) -> str | None:
    """ "ct" or "mr"; None of a volume that cannot be read, unless that is an error."""
    known = cache.known_modality(name, source)
    if known is not None:
        return known
    try:
        return looks_like(read_volume(source, strict))
    except BundleError:
        if strict:
            raise
        return None
