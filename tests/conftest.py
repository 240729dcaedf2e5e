"""Two fixtures most tests of geometry and files need, which tests count as `unit`, and which files come first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.units import is_unit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `unit` what is small: not slow, nothing on disk, nothing of the repository; files of slow tests first.

    Of several processes, none shall be left alone with the longest file at the end.
    """
    for item in items:
        if is_unit(item):
            item.add_marker(pytest.mark.unit)
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


def _make_affine(codes: Sequence[str], spacing_mm: Sequence[float], oblique_deg: float = 0.0) -> np.ndarray:
    ornt = nib.orientations.axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for voxel_axis, (world_axis, sign) in enumerate(ornt):
        affine[int(world_axis), voxel_axis] = sign * spacing_mm[voxel_axis]
    angle = np.deg2rad(oblique_deg)
    about_superior = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = about_superior @ affine[:3, :3]
    affine[:3, 3] = (10.0, -20.0, 30.0)
    return affine


@pytest.fixture
def make_affine() -> Callable[..., np.ndarray]:
    """`make_affine("LPS", spacing_mm, oblique_deg=0)`: (4, 4) RAS+ affine, turned about the superior axis."""
    return _make_affine


@pytest.fixture
def write_volume() -> Callable[..., Path]:
    """`write_volume(folder, array, affine, name)`: save an array with its own dtype, return the file."""

    def write(folder: Path, array: np.ndarray, affine: np.ndarray, name: str = "volume.nii.gz") -> Path:
        stored = array.astype(np.uint8) if array.dtype == bool else array
        image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
        nib.save(image, folder / name)
        return folder / name

    return write


@pytest.fixture(autouse=True)
def _log_handlers_of_one_test_alone() -> Iterator[None]:
    """What a command or a config sets up for logging ends with its test: its stream does, too."""
    _keep_pytests_log_handlers()
    yield
    _keep_pytests_log_handlers()


def _keep_pytests_log_handlers() -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__.startswith("_pytest")]
