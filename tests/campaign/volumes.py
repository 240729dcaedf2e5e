"""Odd volumes, each in a cohort beside two good ones: it is read right, or one sentence says what is wrong with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.prepare_cohort import prepare_cohort
from tests.campaign import odd_dicom, odd_itk, odd_nifti
from tests.campaign.anatomy import BONE_MM, bone_centre_mm, draw, grid
from tests.campaign.trials import Attempt, Lost

PART = "volumes"
RIGHT, WARNED, LEFT_OUT = "right", "right, with a sentence", "left out with a sentence"
WRONG = "wrong, with a sentence"  # values that are no HU
TOLERANCE_MM = 4.0  # a voxel of the cache
SPACING_MM = (4.0, 4.0, 4.0)
LONGEST_SENTENCE = 500

Maker = Callable[[Path], None]  # writes an odd case into the images folder


def attempts() -> Iterator[Attempt]:
    """Every odd volume, and how it may end."""
    for module in (odd_nifti, odd_itk, odd_dicom):
        for name, (make, allowed) in module.ODD.items():
            yield Attempt(name, partial(_read, make, allowed))


def _read(make: Maker, allowed: tuple[str, ...], folder: Path) -> str:
    images = folder / "images"
    images.mkdir()
    for number in range(2):
        shape, affine = grid()
        hu = draw(shape, affine) + np.random.default_rng(number).integers(-3, 4, shape).astype(np.int16)
        nib.save(nib.Nifti1Image(hu, affine), images / f"good_{number}.nii.gz")
    make(images)
    sentences = _Sentences()
    logging.getLogger().addHandler(sentences)
    try:
        cohort = prepare_cohort(images, folder / "out", SPACING_MM)
    except BundleError as error:
        raise Lost(f"the whole cohort is refused: {error}") from error
    finally:
        logging.getLogger().removeHandler(sentences)
    if missing := [name for name in ("good_0", "good_1") if name not in cohort.cases]:
        raise Lost(f"{', '.join(missing)} left out with it")
    outcome = _outcome(cohort, sentences.lines)
    if outcome not in allowed:
        raise Lost(f"{outcome}, not {' or '.join(allowed)}")
    shutil.rmtree(folder)
    return outcome


def _outcome(cohort: Cohort, lines: list[str]) -> str:
    odd = [name for name in cohort.cases if not name.startswith("good")]
    said = read_json(WorkFolder(cohort.output_dir).cohort)
    sentences = [line for line in lines if line.strip()]
    if long := [line for line in sentences if len(line) > LONGEST_SENTENCE or "Traceback" in line]:
        raise Lost(f"that is no sentence: {long[0][:200]}")
    if not odd:
        named = cohort.rejected or said.get("unused")
        if not named:
            raise Lost("not mentioned")
        return LEFT_OUT
    for name in odd:
        image = nib.load(cohort.cached_image(name))
        centre_mm = bone_centre_mm(image.get_fdata(), image.affine, float(normalise_hu(np.array(400.0))))
        offset_mm = np.linalg.norm(centre_mm - BONE_MM)
        if not offset_mm < TOLERANCE_MM:
            if not any(said.get("warnings", {}).get(name, ())):
                raise Lost(f"wrong in silence: the bone of {name} is {offset_mm:.0f} mm off")
            return WRONG
    return WARNED if any(said.get("warnings", {}).get(name) for name in odd) else RIGHT


class _Sentences(logging.Handler):
    """Remembers what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
