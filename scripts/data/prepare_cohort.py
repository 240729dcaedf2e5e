"""From a folder of images to a checked, cached cohort: what every command does first."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.affines import is_same
from scripts.common.errors import BundleError
from scripts.common.files import write_nifti
from scripts.common.names import likely_names
from scripts.common.sharing.one_thread import one_thread
from scripts.common.work_folder import WorkFolder
from scripts.data.cache_cohort import cache_all, find_or_read
from scripts.data.case import Case, as_spacing, check_case_names
from scripts.data.cohort import STAGE, Cohort, load_cohort, write_cohort
from scripts.data.gate.admission import left_out_lines, rejection, unused_lines, verdict_lines
from scripts.data.gate.cohort_modality import check_modality_name, choose_modality
from scripts.data.gate.modality import AUTO, Modality
from scripts.data.gate.output_space import check_output
from scripts.data.reading.alignment import on_grid_of
from scripts.data.stroke_classes import drawn_values, labels_beside, parse_classes, resolve_classes
from scripts.data.volume_cache import VolumeCache, fingerprint
from scripts.data.volume_io import (
    Volume,
    case_id,
    is_plain_nifti,
    read_labels,
    read_strokes,
    remarks_on_series,
    scan_folder,
)

logger = logging.getLogger(__name__)

MOST_CASES = 5  # that a message names
GIVEN = "given as strokes or organs of the support"


def prepare_cohort(
    images: str | Path,
    output_dir: str | Path,
    spacing_mm: Sequence[float],
    support: str | Path | None = None,
    scribbles: str | Path | None = None,
    classes: Mapping[str, int] | str | None = None,
    background: int | None = None,
    minimum_cases: int = 2,
    support_mask: str | Path | None = None,
    check: Callable[[Cohort], None] = lambda _: None,
    modality: str = AUTO,
    bias_correction: bool = True,
) -> Cohort:
    """Check everything, cache every good volume at `spacing_mm` (X, Y, Z) and write `cohort.json`.

    Run again it does only what is missing or changed. A process has one volume in memory at a time. Bad volumes are
    recorded in `rejected`, odd ones in `warnings`, other files in `unused`; a bad support is an error. Called with
    images alone (as a training of PRNet does) it keeps the support, scribbles and classes that the work directory
    already has for these images.

    Args:
        images: folder of volumes (see `find_volumes`).
        output_dir: the work directory.
        spacing_mm: voxel size that the method works on, X, Y, Z, in mm.
        support: the scribbled volume; added to the cohort if the folder lacks it.
        scribbles: strokes on the support's own grid, 0 where unmarked, any readable format.
        classes: name -> stroke value, or "name:value,..."; by default those of the `dataset.json` beside the images
            folder, else every value but the largest.
        background: value of the background strokes; by default from `dataset.json`, else the largest value.
        minimum_cases: fewer good volumes than this are an error.
        support_mask: the support's label map where it was given; it and the strokes may lie in the images folder.
        check: refuses further input that does not fit the cohort, before strokes or `cohort.json` are written.
        modality: "ct", "mr", or "auto" for what the support is, or most volumes where there is none; a volume of the
            other kind is then left out.
        bias_correction: whether the bias field of MR is divided out.

    Raises:
        BundleError: one for each thing that is wrong, before any volume but the support is read.
    """
    cache = VolumeCache(Path(output_dir).absolute(), as_spacing(spacing_mm))
    check_modality_name(modality)
    classes = parse_classes(classes) if isinstance(classes, str) else classes
    asked = _what_is_asked(images, cache.output_dir, support, scribbles, classes, background, support_mask)
    sources, earlier = asked.sources, asked.earlier
    check_case_names(sources)
    _check_count(len(sources), minimum_cases, images, {})

    if modality != AUTO or earlier is None:
        chosen, about = choose_modality(modality, bias_correction, cache, sources, asked.support)
    else:
        chosen, about = Modality(earlier.modality, False, bias_correction), []
    cache, asked = replace(cache, modality=chosen), replace(asked, assumptions=(*asked.assumptions, *about))
    support_case, converted = None, None
    if asked.support is not None:
        present = find_or_read(cache, asked.support, sources[asked.support], strict=True)
        support_case = cache.described(asked.support, sources[asked.support], present)
        if asked.scribbles is not None:
            asked, converted = _with_strokes(asked, asked.scribbles, support_case, cache.output_dir, images)
    check_output(cache, sources)
    cached_support = None
    if support_case is not None:
        with one_thread():
            cached_support = cache.stored(support_case, present)
        del present  # one volume in memory at a time
    found = cache_all(cache, sources, cached_support)
    _check_count(len(found.cases), minimum_cases, images, found.left_out)
    cohort = Cohort(
        output_dir=cache.output_dir,
        spacing_mm=cache.spacing_mm,
        cases={name: good.case for name, good in found.cases.items()},
        rejected={name: rejection(sources[name], error) for name, error in found.left_out.items()},
        support=asked.support,
        scribbles=asked.scribbles,
        classes=dict(asked.classes or {}),
        background=asked.background,
        assumptions=tuple(dict.fromkeys([*asked.assumptions, *found.dropped])),
        warnings={name: good.warnings for name, good in found.cases.items() if good.warnings},
        unused=asked.unused,
        modality=cache.modality.name,
        bias_correction=cache.modality.bias_correction,
    )
    check(cohort)
    for sentence in cohort.assumptions:
        logger.info("assumed: %s", sentence)
    if asked.scribbles is not None and converted is not None:
        _write_strokes(asked.scribbles, converted)
    if earlier is None:  # of a stage that prepares the cohort again nobody wants to hear it twice
        _tell(cohort, found.left_out)
    write_cohort(cohort)
    return cohort


@dataclass(frozen=True)
class _Earlier:
    """What a work directory says about its support.

    Attributes:
        support: the volume as the user gave it.
        scribbles, classes, background, assumptions: see `Cohort`.
        given: label maps of the support that lie in the images folder.
        modality: of the cohort.
    """

    support: Path
    scribbles: Path | None
    classes: dict[str, int]
    background: int | None
    assumptions: tuple[str, ...]
    given: list[Path]
    modality: str


def _recall(output_dir: Path, sources: Mapping[str, Path]) -> _Earlier | None:
    """What the work directory's cohort says, if its support is still there and it shares volumes with `sources`."""
    if not WorkFolder(output_dir).cohort.exists():
        return None
    cohort = load_cohort(output_dir)
    if cohort.support is None or cohort.support not in cohort.cases:
        return None
    support = cohort.cases[cohort.support].source
    if not all(path.exists() for path in (support, cohort.scribbles) if path is not None):
        return None
    if not {case.source for case in cohort.cases.values()} & set(sources.values()):
        return None
    given = [_real(file) for file, reason in cohort.unused.items() if reason == GIVEN]
    return _Earlier(
        support, cohort.scribbles, cohort.classes, cohort.background, cohort.assumptions, given, cohort.modality
    )


@dataclass(frozen=True)
class _Asked:
    """What a cohort is to be made of, as the user says or as the work directory remembers.

    Attributes:
        sources: name -> volume, the support's among them.
        unused: see `Cohort`.
        support: its name.
        scribbles, classes, background, assumptions: see `Cohort`, as far as they are known yet.
        earlier: what the work directory remembers; None where the user said something.
    """

    sources: dict[str, Path]
    unused: dict[str, str]
    support: str | None
    scribbles: Path | None
    classes: Mapping[str, int] | None
    background: int | None
    assumptions: tuple[str, ...]
    earlier: _Earlier | None


def _what_is_asked(
    images: str | Path,
    output_dir: Path,
    support: str | Path | None,
    scribbles: str | Path | None,
    classes: Mapping[str, int] | None,
    background: int | None,
    support_mask: str | Path | None,
) -> _Asked:
    """By the arguments of `prepare_cohort`; label maps of the support that lie among the images are no volumes."""
    scan = scan_folder(images)
    sources = {name: path.absolute() for name, path in scan.volumes.items()}
    unused = {str(path): reason for path, reason in scan.unused}
    earlier = None
    if support is None and scribbles is None and not classes and (earlier := _recall(output_dir, sources)):
        support, scribbles = earlier.support, earlier.scribbles
        classes, background = earlier.classes or None, earlier.background
    given = [_real(file) for file in (scribbles, support_mask) if file is not None]
    given += earlier.given if earlier else []
    unused |= {file: GIVEN for file in unused if _real(file) in given}
    for name in [name for name, path in sources.items() if _real(path) in given]:
        unused[str(sources.pop(name))] = GIVEN
    if scribbles is not None and support is None:
        raise BundleError("scribbles were given without their support", stage=STAGE, file=scribbles)
    support_id, assumptions = None, [*(earlier.assumptions if earlier else ())]
    if support is not None:
        support_id, about = _name_of_support(sources, Path(support))
        sources.setdefault(support_id, Path(support).absolute())
        assumptions += about
    strokes = None if scribbles is None else Path(scribbles).absolute()
    return _Asked(sources, unused, support_id, strokes, classes, background, tuple(assumptions), earlier)


def _name_of_support(sources: Mapping[str, Path], support: Path) -> tuple[str, list[str]]:
    """The support's identifier among `sources`; of one that is not there, its own, and a sentence about that."""
    if not support.exists():
        cases = likely_names(case_id(support), sorted(sources), MOST_CASES)
        raise BundleError(
            "the support is missing: there is neither such a file nor a case of that name",
            stage=STAGE,
            expected=f"a volume, or the name of a case of the images folder: {cases}",
            found=support,
        )
    for name, source in sources.items():
        if _real(source) == _real(support):
            return name, []
    name = case_id(support)
    if name not in sources:
        return name, [f"The support {name} was not in the images folder and was added to the cohort."]
    if fingerprint(sources[name]) != fingerprint(support):
        raise BundleError(
            "the images folder holds another volume of the support's name",
            case=name,
            stage=STAGE,
            file=sources[name],
            expected=f"the same content as {support}",
        )
    return name, []


def _tell(cohort: Cohort, left_out: Mapping[str, BundleError]) -> None:
    """Say what is odd about the volumes, and what is not used."""
    for message in (*left_out_lines(left_out), *verdict_lines(cohort.warnings)):
        logger.warning("%s", message)
    for message in unused_lines(cohort.unused):
        logger.info("%s", message)


def _with_strokes(
    asked: _Asked, scribbles: Path, support: Case, output_dir: Path, images: str | Path
) -> tuple[_Asked, Volume | None]:
    """Check the scribbles against the support's grid, and write nothing.

    Returns:
        What is asked, with the NIfTI file to use and what its values mean; the strokes if they are still to be written
        there.
    """
    about_series = remarks_on_series(scribbles, support.source)
    drawn = read_strokes(scribbles, support.grid, asked.classes or {}, asked.background)
    strokes = on_grid_of(drawn, support, scribbles, "scribbles")
    labels = labels_beside(scribbles, strokes.names, asked.classes, images)
    meaning = resolve_classes(drawn_values(strokes.array), asked.classes, asked.background, labels, scribbles)
    remarks = [f"Scribbles: {remark}" for remark in (*about_series, *strokes.remarks)]
    assumptions = (*asked.assumptions, *meaning.assumptions, *remarks)
    asked = replace(asked, classes=meaning.classes, background=meaning.background, assumptions=assumptions)
    if strokes is drawn and is_plain_nifti(scribbles):
        return asked, None
    file = WorkFolder(output_dir).scribbles / f"{support.id}.nii.gz"
    return replace(asked, scribbles=file), Volume(strokes.array, np.asarray(support.affine))


def _write_strokes(file: Path, strokes: Volume) -> None:
    """Unless the file holds them already."""
    with suppress(BundleError):
        held = read_labels(file)
        if np.array_equal(held.array, strokes.array) and is_same(held.affine, strokes.affine):
            return
    write_nifti(file, strokes.array, strokes.affine)


def _real(path: str | Path) -> Path:
    """Where links lead; a link to itself stays what it is."""
    return Path(os.path.realpath(path))


def _check_count(count: int, minimum: int, images: str | Path, rejected: Mapping[str, Any]) -> None:
    if count >= minimum:
        return
    volumes = f"{count}" + (f", rejected: {', '.join(rejected)}" if rejected else "")
    raise BundleError("too few good volumes", stage=STAGE, file=images, expected=f"at least {minimum}", found=volumes)
