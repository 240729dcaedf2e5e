"""A CT series, its label map, and both as DICOM, for each position of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from bundle.dicom.facts import ClassFacts, Maker, class_facts
from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import SourceSeries, read_source
from bundle.dicom.structure_set import structure_set
from scripts.data.volume_io import Volume, read_volume
from tests.fixtures.ct_series import SHAPE, write_ct

CLASSES = {"spleen": 1, "left_kidney": 3, "lump": 7}
WHEN = datetime(2026, 1, 2, 3, 4, 5)
BY = Maker("Maker", "1.2")


def noisy_hu(seed: int = 0) -> np.ndarray:
    """(X, Y, Z) HU."""
    return np.random.default_rng(seed).integers(-200, 300, SHAPE).astype(float)


def noisy_labels(seed: int = 1) -> np.ndarray:
    """(X, Y, Z) label values: single voxels, diagonals, holes, and a block with a hole."""
    labels = np.random.default_rng(seed).choice(np.array([0, 0, 0, 1, 3, 7], np.uint8), SHAPE)
    labels[2:9, 2:9, 4], labels[4:6, 4:6, 4] = 1, 0
    labels[:, :, -1] = 0
    return labels


def facts_of(classes: dict[str, int]) -> list[ClassFacts]:
    """Of classes that nobody checked."""
    return class_facts(classes, Path("no record"), None)


@dataclass(frozen=True)
class Written:
    """A series with its label map, as volume and as DICOM files."""

    series: SourceSeries
    volume: Volume
    labels: np.ndarray
    segmentation: Path
    structure_set: Path

    @property
    def grid(self) -> tuple[tuple[int, ...], np.ndarray]:
        return self.volume.array.shape, self.volume.affine


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """written(geometry) -> the files, made once."""
    made: dict[str, Written] = {}

    def write(geometry: str) -> Written:
        if geometry not in made:
            folder = tmp_path_factory.mktemp("dicom")
            made[geometry] = write_both(write_ct(folder / "ct", noisy_hu(), geometry), noisy_labels(), folder)
        return made[geometry]

    return write


def write_both(source: Path, labels: np.ndarray, folder: Path) -> Written:
    """SEG and RTSTRUCT of a label map on the series' grid."""
    series, volume = read_source(source), read_volume(source)
    about = labels, series, facts_of(CLASSES), BY, "mark", WHEN
    files = []
    for name, made in (("seg", segmentation(*about)), ("rtstruct", structure_set(*about))):
        files.append(save(made, folder / f"{name}.dcm"))
    return Written(series, volume, labels, *files)


def save(made: Dataset, file: Path) -> Path:
    made.save_as(file, enforce_file_format=True)
    return file
