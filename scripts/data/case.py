"""One volume of the cohort, and the working spacing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from scripts.common.errors import BundleError
from scripts.common.names import CASE_NAME, is_case_name
from scripts.common.schema import FINITE, LINE, TEXT, Kind, list_of, number, shown, whole

FIELDS = {
    "id": Kind(CASE_NAME, is_case_name),
    **dict.fromkeys(("image", "source"), LINE),
    "shape": list_of(whole(1, 100_000), 3, 3),
    "spacing_mm": list_of(number(10_000.0), 3, 3),
    "affine": list_of(list_of(FINITE, 4, 4), 4, 4),
    **dict.fromkeys(("orientation", "sha256"), TEXT),
}


@dataclass(frozen=True)
class Case:
    """One volume of the cohort.

    Args:
        id: name of the file or DICOM folder, without suffix.
        image: 3-D NIfTI file: the input itself, or its conversion in `OUTPUT/images`; of MR in standard units.
        source: the input.
        shape: voxels along the image's own axes.
        spacing_mm: voxel spacing along the image's own axes.
        affine: rows of the image's (4, 4) affine, RAS+ millimetres.
        orientation: axis codes, such as "LAS".
        sha256: fingerprint of the source's bytes; of MR, of how they become an image, too.
    """

    id: str
    image: Path
    source: Path
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    orientation: str
    sha256: str

    @property
    def grid(self) -> tuple[tuple[int, int, int], np.ndarray]:
        """Shape and (4, 4) affine: where its label maps lie."""
        return self.shape, np.asarray(self.affine)

    def to_json(self) -> dict[str, Any]:
        """The fields, paths as text."""
        return {**asdict(self), "image": str(self.image), "source": str(self.source)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Case:
        """The case `to_json` was called on.

        Raises:
            KeyError: a field is missing.
            ValueError: a field is something else.
        """
        for key, kind in FIELDS.items():
            if not kind.fits(content[key]):
                raise ValueError(f"{key}: {shown(content[key])} is not {kind.words}")
        paths = {"image": Path(content["image"]), "source": Path(content["source"])}
        rows = {"affine": tuple(tuple(row) for row in content["affine"])}
        grid = {"shape": tuple(content["shape"]), "spacing_mm": tuple(content["spacing_mm"])}
        return cls(**{**content, **paths, **rows, **grid})


def check_case_names(sources: Mapping[str, Path]) -> None:
    """Refuse a name that cannot go through the whole run, before any work.

    Args:
        sources: name -> the volume.

    Raises:
        BundleError: the first such name.
    """
    for name, source in sources.items():
        if not is_case_name(name):
            raise BundleError(
                "a volume of this name cannot be worked on; rename it",
                stage="cohort",
                file=ascii(str(source)),
                expected=CASE_NAME,
                found=ascii(name),
            )


def as_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """The working spacing in mm along three axes.

    Raises:
        BundleError: these are not three steps above 0 and of at most 20 mm.
    """
    values = tuple(float(step) for step in spacing_mm)
    if len(values) != 3 or not all(0 < step <= 20 for step in values):
        raise BundleError(
            "the working spacing is absurd", stage="cohort", expected="three steps of 0 to 20 mm", found=list(values)
        )
    return values


def check_distinct_names(names: Iterable[str], probe: Path) -> None:
    """Refuse cases whose files a disk cannot tell apart.

    Args:
        names: of the cases.
        probe: a file on that disk, with a letter in its name.

    Raises:
        BundleError: two names differ in upper and lower case alone, which does not count there.
    """
    if not probe.with_name(probe.name.swapcase()).exists():
        return
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(normalize("NFC", name.casefold()), name)
        if other != name:
            raise BundleError(
                "the output folder cannot tell two volumes' names apart",
                case=name,
                stage="cohort",
                file=probe.parent,
                expected="names that differ in more than upper and lower case, or another disk",
                found=f"{other} and {name}",
            )
