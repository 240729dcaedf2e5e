"""One DICOM series as a volume: which of a folder's files are its slices, and their voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scripts.data.reading.dicom_headers import Damaged, DicomFolder, ImageHeader, read_headers
from scripts.data.reading.grid_limits import check_grid
from scripts.data.reading.slice_stack import Grid, Stack, stacks_of
from scripts.data.reading.volume import LPS_TO_RAS, Volume, some_names, volume_error

COPY_AGAIN = "the whole series: copy it from the archive again"


@dataclass(frozen=True)
class Frame:
    """One picture of a file, and where it lies: its grid, and its first voxel (3,) in mm, LPS."""

    image: ImageHeader
    index: int
    grid: Grid
    position_mm: np.ndarray


@dataclass(frozen=True)
class Series:
    """Images of one series, as they lie in one folder.

    Attributes:
        source: the folder, or a file of the series.
        images: all that can be read, by file name.
        damaged: files that belong, or may belong, to it and cannot be read.
        rivals: how many other series lie in the folder that `source` leaves open.
    """

    source: Path
    images: tuple[ImageHeader, ...]
    damaged: tuple[Path, ...]
    rivals: int = 0

    @cached_property
    def placed(self) -> list[Frame]:
        """Frames whose place in space is told."""
        return [
            Frame(image, index, Grid(image.size[:2], image.axes_mm), position_mm)
            for image in self.images
            if image.axes_mm is not None and image.positions_mm is not None
            for index, position_mm in enumerate(image.positions_mm)
        ]

    @cached_property
    def stacks(self) -> list[Stack]:
        """Its placed frames as stacks, the longest first."""
        return stacks_of([frame.grid for frame in self.placed], np.array([frame.position_mm for frame in self.placed]))

    @property
    def places(self) -> int:
        """Slices of its longest stack."""
        return max((len(stack.places) for stack in self.stacks), default=0)

    @property
    def acquired(self) -> int | None:
        """How many images its acquisition gave; None unless all its images say the same of the same one."""
        said = {(image.acquisition, image.acquired) for image in self.images}
        acquisition, acquired = said.pop() if len(said) == 1 else ("", None)
        return acquired if acquisition else None

    def without(self, files: Sequence[Path]) -> Series:
        """The series without files whose voxels turned out to be unreadable."""
        rest = tuple(image for image in self.images if image.path not in files)
        return Series(self.source, rest, (*self.damaged, *files), self.rivals)


def all_series(folder: DicomFolder, source: Path) -> list[Series]:
    """Series of a folder, the one with most slices in space first."""
    uids = dict.fromkeys(image.series for image in folder.images)
    found = [_series(folder, uid, source) for uid in uids]
    return sorted(found, key=lambda series: -series.places)


def open_series(source: Path) -> Series:
    """The longest series of a folder, or the one that a file belongs to.

    Raises:
        BundleError: there is none.
    """
    folder = read_headers(source if source.is_dir() else source.parent)
    if source.is_dir():
        candidates = all_series(folder, source)
    else:
        uid = next((image.series for image in folder.images if image.path == source), None)
        candidates = [] if uid is None else [_series(folder, uid, source)]
    if candidates:
        first = candidates[0]
        return Series(source, first.images, first.damaged, len(candidates) - 1)
    if folder.damaged:
        found = some_names([file.path for file in folder.damaged])
        raise volume_error("the DICOM files cannot be read", source, COPY_AGAIN, found)
    raise volume_error("the folder holds no DICOM series", source, "DICOM slices", "none")


def series_files(source: Path) -> list[Path]:
    """The files of the series' volume, in the order of its slices; all of a series that is none."""
    series = open_series(source)
    stack = series.stacks[0] if series.placed else None
    if stack is None:
        return [image.path for image in series.images]
    return list(dict.fromkeys(series.placed[frame].image.path for place in stack.places for frame in place))


def volume_frames(source: Path) -> tuple[list[Frame], np.ndarray]:
    """One frame for each slice of the series' volume, in their order, and (4, 4) affine in mm, LPS.

    Raises:
        BundleError: the series is no volume.
    """
    series = open_series(source)
    stack = _volume_stack(series)
    return [series.placed[place[0]] for place in stack.places], stack.affine()


def peek_series(source: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine by the headers alone.

    Raises:
        BundleError: the series is no volume.
    """
    stack = _volume_stack(open_series(source))
    return (*stack.grid.size, len(stack.places)), LPS_TO_RAS @ stack.affine()


def read_series(source: Path, strict: bool) -> Volume:
    """Voxels float32, and what had to be left out.

    Args:
        source: folder, or a file of the series.
        strict: files that cannot be read are an error even where the rest is a volume.

    Raises:
        BundleError: the series is no evenly spaced volume.
    """
    return _read(open_series(source), strict)


def _read(series: Series, strict: bool) -> Volume:
    stack = _volume_stack(series)
    if strict and series.damaged:
        raise volume_error("slices cannot be read", series.source, COPY_AGAIN, some_names(list(series.damaged)))
    affine = LPS_TO_RAS @ stack.affine()
    shape = (*stack.grid.size, len(stack.places))
    check_grid(series.source, shape, affine)
    pixels, broken = _pixels(series, stack)
    if broken:
        return _read(series.without(broken), strict)
    modality = series.placed[stack.places[0][0]].image.modality
    return Volume(pixels.transpose(), affine, tuple(_remarks(series, stack)), modality=modality)


def _pixels(series: Series, stack: Stack) -> tuple[np.ndarray, list[Path]]:
    """(places, rows, columns) float32, and the files that could not be decoded."""
    columns, rows = stack.grid.size
    pixels = np.empty((len(stack.places), rows, columns), np.float32)
    place_of = {frame: place for place, frames in enumerate(stack.places) for frame in frames}
    filled: set[int] = set()
    by_file: dict[Path, list[tuple[int, int]]] = {}
    for frame, place in place_of.items():
        placed = series.placed[frame]
        by_file.setdefault(placed.image.path, []).append((placed.index, place))
    broken, differing = [], set()
    for path, members in by_file.items():
        try:
            stored = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
        except RuntimeError:
            broken.append(path)
            continue
        for index, place in members:
            if place in filled and not np.array_equal(pixels[place], stored[index].astype(np.float32)):
                differing.add(place)
            pixels[place] = stored[index]
            filled.add(place)
    if differing and not broken:
        raise volume_error(
            "the DICOM series has several images at one position",
            series.source,
            "one image a position: export each phase or reconstruction by itself",
            f"different images at {len(differing)} of {len(stack.places)} positions",
        )
    return pixels, broken


def _volume_stack(series: Series) -> Stack:
    """The stack that is the series' volume; an error where no stack is one."""
    lost = f"; {_unreadable(series)}" if series.damaged else ""
    if not series.placed:
        found = f"{len(series.images)} files without one position, orientation or pixel spacing a frame{lost}"
        expected = "a place in space for each slice: export the series again as original CT images"
        raise volume_error("the DICOM series does not say where its slices lie", series.source, expected, found)
    stack = series.stacks[0]
    frames = sum(map(len, stack.places))
    if len(stack.places) == 1 and frames > 1:
        found = f"{frames} images at one position{lost}"
        raise volume_error("the DICOM series is no volume", series.source, "slices side by side", found)
    if not stack.is_even:
        gaps_mm = np.linalg.norm(stack.gaps_mm, axis=1)
        found = f"{gaps_mm.min():.4g} to {gaps_mm.max():.4g} mm{lost}"
        expected = f"one slice spacing, and {COPY_AGAIN}"
        raise volume_error("the DICOM series has missing or uneven slices", series.source, expected, found)
    return stack


def _remarks(series: Series, stack: Stack) -> list[str]:
    remarks = []
    first = series.placed[stack.places[0][0]].image
    used = {frame for place in stack.places for frame in place}
    files = {series.placed[frame].image.path for frame in used}
    if series.rivals:
        # By a file: this reaches tables and reports, and the series' own name holds the patient's identifier.
        file = some_names([first.path])
        remarks.append(f"The folder holds {series.rivals + 1} DICOM series; the longest, that of {file}, was taken.")
    if series.damaged:
        names = some_names(sorted(series.damaged))
        remarks.append(
            f"Files that cannot be read: {names}: the volume may be cut off; copy it from the archive again."
        )
    if rest := [image.path for image in series.images if image.path not in files]:
        remarks.append(f"Files of another size, orientation or place were left out: {some_names(rest)}.")
    if repeated := len(used) - len(stack.places):
        remarks.append(f"{repeated} images that are there twice were left out.")
    found = sum(image.size[2] for image in series.images) - repeated + len(series.damaged)
    if series.acquired is not None and series.acquired > found:
        remarks.append(
            f"{found} images are here, but the headers say that {series.acquired} were acquired: the first or last "
            "slices may be missing; copy the whole series from the archive again, unless the acquisition was split "
            "into several series."
        )
    if stack.tilt_deg:
        remarks.append(f"The gantry was tilted by {stack.tilt_deg:.1f} degrees: the affine is sheared.")
    if first.modality not in ("CT", ""):
        remarks.append(not_ct(first.modality))
    if first.modality == "CT" and not all(series.placed[frame].image.rescaled for frame in used):
        remarks.append("The DICOM headers do not say how values become HU; they were taken as HU.")
    return remarks


def not_ct(modality: str) -> str:
    """The remark on a series of another modality."""
    return f"The DICOM modality is {modality}, not CT."


def _unreadable(series: Series) -> str:
    return f"files that cannot be read: {some_names(sorted(series.damaged))}"


def _series(folder: DicomFolder, uid: str, source: Path) -> Series:
    images = tuple(image for image in folder.images if image.series == uid)
    return Series(source, images, tuple(file.path for file in folder.damaged if _may_belong(file, uid)))


def _may_belong(file: Damaged, uid: str) -> bool:
    return not file.series or uid in file.series
