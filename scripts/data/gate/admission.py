"""The gate that every command reads volumes through: good, good with a warning, or left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.names import some_of
from scripts.data.gate.modality import AS_CT, CT, MR, Modality
from scripts.data.gate.values import (
    CT_AMONG_MR,
    CT_LIKE,
    LABEL_MAP,
    MR_AMONG_CT,
    MR_LIKE,
    Finding,
    judge_mr_values,
    judge_values,
)
from scripts.data.reading.dicom_series import not_ct
from scripts.data.volume_io import Volume, case_id, read_volume

LABEL_MAP_NAME = re.compile(r"(.+)[-_. ](seg|segmentation|label|labels|labelmap|mask|gt|scribbles?)", re.IGNORECASE)
MOST_NAMES = 10


AMONG_OTHERS = {MR_LIKE: MR_AMONG_CT, CT_LIKE: CT_AMONG_MR}


def admit(path: str | Path, strict: bool = False, modality: Modality = AS_CT) -> Volume:
    """Read a volume that can be used; what the user should know about it is among its remarks.

    Args:
        path: see `read_volume`.
        strict: see `read_volume`.
        modality: what it should be.

    Raises:
        BundleError: as `read_volume`; its values are those of another modality, show no tissue or are labels.
    """
    path = Path(path)
    volume = read_volume(path, strict)
    if modality.is_mr:
        volume = replace(volume, remarks=tuple(said for said in volume.remarks if said != not_ct("MR")))
    finding = judge(volume, modality)
    if finding is None:
        return volume
    if finding.usable:
        return replace(volume, remarks=(*volume.remarks, finding.sentence))
    found = f"values from {volume.array.min():g} to {volume.array.max():g}"
    if finding is LABEL_MAP and (named := LABEL_MAP_NAME.fullmatch(case_id(path))):
        found += f", by its name of {named[1]}"
    raise BundleError(
        finding.problem, case=case_id(path), stage="cohort", file=path, expected=finding.remedy, found=found
    )


def judge(volume: Volume, modality: Modality) -> Finding | None:
    """What is odd about a volume that should be of this modality; None if nothing is."""
    finding = judge_mr_values(volume.array) if modality.is_mr else judge_values(volume.array)
    if modality.given or volume.modality == modality.name.upper():
        return finding
    if finding is None and volume.modality in (CT.upper(), MR.upper()):
        return CT_AMONG_MR if modality.is_mr else MR_AMONG_CT
    return finding if finding is None else AMONG_OTHERS.get(finding, finding)


def looks_like(volume: Volume) -> str:
    """Whether a volume is "ct" or "mr", by what DICOM says, else by its values."""
    if volume.modality in (CT.upper(), MR.upper()):
        return volume.modality.lower()
    return MR if judge_values(volume.array) is MR_LIKE else CT


def rejection(source: Path, error: BundleError) -> dict[str, str]:
    """Why a volume is left out, as `cohort.json` says it."""
    return {"file": str(source), "reason": f"{error.problem} ({error.found})", "remedy": str(error.expected)}


def left_out_lines(errors: Mapping[str, BundleError]) -> list[str]:
    """Case -> why it is left out, as few messages: cases of the same problem share one."""
    alike: dict[str, list[str]] = {}
    for case, error in errors.items():
        alike.setdefault(f"{error.problem}; expected: {error.expected}", []).append(case)
    return [
        f"left out: {errors[cases[0]]}" if len(cases) == 1 else f"left out: {some_of(cases, MOST_NAMES)}: {sentence}"
        for sentence, cases in alike.items()
    ]


def verdict_lines(verdicts: Mapping[str, Sequence[str]]) -> list[str]:
    """Case -> sentences, as few lines: cases with the same sentence share one."""
    cases: dict[str, list[str]] = {}
    for case, sentences in verdicts.items():
        for sentence in sentences:
            cases.setdefault(sentence, []).append(case)
    return [f"{some_of(names, MOST_NAMES)}: {sentence}" for sentence, names in cases.items()]


def unused_lines(unused: Mapping[str, str]) -> list[str]:
    """File -> why it is not used (see `FolderScan`), as few lines."""
    return verdict_lines({Path(file).name: [f"not used: {reason}"] for file, reason in unused.items()})
