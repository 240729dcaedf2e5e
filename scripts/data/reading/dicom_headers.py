"""DICOM files of a folder: headers of the images, what else lies there, and what cannot be read."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scripts.data.reading.volume import SUFFIXES, has_suffix

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
SHORTEST_FILE = 132  # preamble and mark
LEGIBLE_BYTES = 1 << 14  # of a damaged file, for its kind and series
REFERRING_BYTES = 1 << 20  # of a segmentation, which names each slice of its series
MOST_HEADER_BYTES = 1 << 24  # of a multi-frame file: some hundred bytes a frame
MOST_REMEMBERED = 100_000

STORAGE = "1.2.840.10008.5.1.4.1.1."
OTHER_OBJECTS = {  # first number after STORAGE -> what it is; those are never scans
    "9": "waveform",
    "11": "presentation state",
    "30": "parametric map",
    "66": "segmentation, registration or raw data",
    "67": "real world value map",
    "68": "surface",
    "88": "structured report",
    "104": "encapsulated document",
    "481": "radiotherapy object",
}
SEGMENTATIONS = (STORAGE + "66.4", STORAGE + "66.7")  # segments, label map
STRUCTURE_SET = STORAGE + "481.3"
ENHANCED = {STORAGE + kind for kind in ("2.1", "2.2", "4.1", "128.1")}  # GDCM rescales frames of these alone
DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class ImageHeader:
    """What is needed of an image's header, of one frame or several.

    Attributes:
        path: the file.
        series: UID of its series.
        name: patient, study's date and number of the series, as far as they are told, fit for a file's name.
        size: columns, rows, frames.
        axes_mm: (3, 2) steps along columns and rows in mm, LPS; None if spacing or orientation are not told.
        positions_mm: (frames, 3) first voxel of each frame, LPS; None if that is not told for each.
        modality: such as "CT".
        rescaled: whether the file tells how its values become HU.
        acquisition: number of the acquisition that it is of; "" if that is not told.
        acquired: how many images that acquisition gave; None if that is not told.
    """

    path: Path
    series: str
    name: str
    size: tuple[int, int, int]
    axes_mm: np.ndarray | None
    positions_mm: np.ndarray | None
    modality: str
    rescaled: bool
    acquisition: str
    acquired: int | None


@dataclass(frozen=True)
class Damaged:
    """A file that should be an image and cannot be read; UIDs of the series it names, if they are legible."""

    path: Path
    series: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DicomFolder:
    """Files that lie directly in a folder, sorted by name: images, damaged ones, and other objects with their kind."""

    images: tuple[ImageHeader, ...]
    damaged: tuple[Damaged, ...]
    others: tuple[tuple[Path, str], ...]


def read_headers(folder: Path) -> DicomFolder:
    """Headers of a folder's DICOM files; files that are no DICOM, and hidden ones, are passed over."""
    images, damaged, others, stumps = [], [], [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or has_suffix(path, SUFFIXES) or not path.is_file():
            continue
        stat = path.stat()
        found = _read_header(path, stat.st_size, stat.st_mtime_ns)
        if isinstance(found, ImageHeader):
            images.append(found)
        elif isinstance(found, Damaged):
            damaged.append(found)
        elif found is not None:
            others.append((path, found))
        elif stat.st_size < SHORTEST_FILE or not _start(path).strip(b"\0"):
            stumps.append(path)
    suffixes = {image.path.suffix.lower() for image in images}
    damaged += [Damaged(path) for path in stumps if path.suffix.lower() in suffixes]
    return DicomFolder(tuple(images), tuple(damaged), tuple(others))


def is_dicom(path: Path) -> bool:
    """Whether the file is a DICOM object, or what is left of one."""
    start = _start(path)
    begins = start[128:132] == b"DICM" or (
        start[:1] in {b"\x02", b"\x08"} and start[1:2] == b"\0" and start[3:4] == b"\0"
    )
    return begins or path.name.lower().endswith(DICOM_SUFFIXES)


def holds_labels(path: Path) -> bool:
    """Whether the file is a DICOM segmentation or an RT structure set."""
    if not path.is_file() or not is_dicom(path):
        return False
    start = _start(path, LEGIBLE_BYTES)
    kinds = _values(start, 0x0002, 0x0002) or _values(start, 0x0008, 0x0016)
    return bool(kinds) and kinds[0] in (*SEGMENTATIONS, STRUCTURE_SET)


def named_series(path: Path) -> frozenset[str]:
    """UIDs of the series that a file names: its own, and those that it refers to."""
    return frozenset(_values(_start(path, REFERRING_BYTES), 0x0020, 0x000E))


def named_frames(path: Path) -> frozenset[str]:
    """UIDs of the frames of reference that a file names: what has the same one lies in the same space."""
    return frozenset(_values(_start(path, REFERRING_BYTES), 0x0020, 0x0052))


@lru_cache(MOST_REMEMBERED)
def _read_header(path: Path, size: int, mtime_ns: int) -> ImageHeader | Damaged | str | None:
    """The header, or what else the file is; None if it is no DICOM. Size and time tell a changed file."""
    if not is_dicom(path):
        return None
    start = _start(path, LEGIBLE_BYTES)
    kind = next(filter(None, map(_other_object, _values(start, 0x0002, 0x0002))), None)
    if kind is not None:
        return kind
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return Damaged(path, frozenset(_values(start, 0x0020, 0x000E)))
    tags = {key: _ascii(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    if tags.get("0028|0002", "1") != "1":
        return "DICOM picture in colours"
    return _other_object(tags.get("0008|0016", "")) or _image_header(path, reader, tags)


def _image_header(path: Path, reader: sitk.ImageFileReader, tags: Mapping[str, str]) -> ImageHeader:
    columns, rows, *more = reader.GetSize()
    frames = int(np.prod(more)) if more else 1
    positions = _numbers([tags["0020|0032"]], 3) if frames == 1 and "0020|0032" in tags else None
    has_axes = "0020|0037" in tags and bool({"0028|0030", "0018|1164", "0018|2010"} & set(tags))
    rescaled = "0028|1052" in tags
    axes_mm = None
    if tags.get("0008|0016") in ENHANCED:
        positions, axes_mm, rescaled = _of_frames(path)
    elif has_axes and len(reader.GetSize()) == 3:
        axes_mm = (np.asarray(reader.GetDirection()).reshape(3, 3) * np.asarray(reader.GetSpacing()))[:, :2]
    acquired = tags.get("0020|1002", "")
    name = [tags.get(key, "") for key in ("0010|0020", "0008|0020", "0020|0011")]
    return ImageHeader(
        path=path,
        series=tags.get("0020|000e", ""),
        name=re.sub(r"[^A-Za-z0-9._-]+", "_", "_".join(part for part in name if part)).strip("._-"),
        size=(columns, rows, frames),
        axes_mm=axes_mm,
        positions_mm=positions if positions is not None and len(positions) == frames else None,
        modality=tags.get("0008|0060", ""),
        rescaled=rescaled,
        acquisition=tags.get("0020|0012", ""),
        acquired=int(acquired) if re.fullmatch(r"[0-9]{1,9}", acquired) else None,
    )


def _of_frames(path: Path) -> tuple[np.ndarray | None, np.ndarray | None, bool]:
    """Positions of a multi-frame file's frames, their axes if all have the same, whether values are HU.

    The readers tell those of the first frame alone, and no spacing where frames are not in the order of their places.
    """
    with path.open("rb") as file:
        header = file.read(MOST_HEADER_BYTES)
    header = header[: header.find(b"\xe0\x7f\x10\x00")]
    positions = _numbers(_values(header, 0x0020, 0x0032), 3)
    turned, spaced = _values(header, 0x0020, 0x0037), _values(header, 0x0028, 0x0030)
    slopes, intercepts = _values(header, 0x0028, 0x1053), _values(header, 0x0028, 0x1052)
    same = len(set(turned)) == len(set(spaced)) == 1 and len(set(slopes)) <= 1 and len(set(intercepts)) <= 1
    return positions, _axes(turned[0], spaced[0]) if same else None, bool(intercepts)


def _axes(orientation: str, spacing: str) -> np.ndarray | None:
    """(3, 2) steps along columns and rows in mm, of two elements' texts."""
    cosines, steps_mm = _numbers([orientation], 6), _numbers([spacing], 2)
    if cosines is None or steps_mm is None:
        return None
    return np.asarray(cosines.reshape(2, 3).T * steps_mm[0, ::-1])


def _ascii(text: str) -> str:
    """A tag's text, which may be in any alphabet and padded."""
    return text.encode("ascii", "replace").decode("ascii").strip().strip("\0")


def _values(header: bytes, group: int, element: int) -> list[str]:
    """Text of all elements of a little-endian header with this tag, within sequences too."""
    tag, values = struct.pack("<HH", group, element), []
    for found in re.finditer(re.escape(tag), header):
        start = found.end()
        explicit = header[start : start + 2].isalpha()
        length = int.from_bytes(header[start + 2 : start + 4] if explicit else header[start : start + 4], "little")
        text = header[start + 4 : start + 4 + length]
        if 0 < length <= 256 and text.isascii():
            values.append(text.decode("ascii").strip().strip("\0"))
    return values


def _numbers(texts: list[str], count: int) -> np.ndarray | None:
    """(N, count) numbers, each row written "a\\b\\c"."""
    try:
        rows = [[float(part) for part in text.split("\\")] for text in texts]
    except ValueError:
        return None
    return np.array(rows) if rows and all(len(row) == count for row in rows) else None


def _other_object(storage: str) -> str | None:
    """What an object that is no scan is called."""
    if storage == DIRECTORY:
        return "DICOM directory"
    if not storage.startswith(STORAGE):
        return None
    kind = OTHER_OBJECTS.get(storage.removeprefix(STORAGE).split(".")[0])
    return None if kind is None else f"DICOM {kind}"


def _start(path: Path, count: int = SHORTEST_FILE) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
