"""Odd DICOM series."""

from __future__ import annotations

import locale
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from tests.campaign.anatomy import draw, grid
from tests.campaign.odd_nifti import OK, OK_OR_SAID, SAID, TOLD, Maker

CT, UID = "1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.3680043.8.498.7"
AXES = {"axial": "LPS", "feet first": "LPI", "prone": "RAS", "coronal": "LSP"}


def write_series(
    folder: Path,
    codes: str = "LPS",
    oblique_deg: float = 0.0,
    shear: float = 0.0,
    uid: str = UID,
    keep: Iterable[int] | None = None,
    without: Iterable[str] = (),
    **tags: str,
) -> list[Path]:
    """The body as one DICOM file a slice; returns the files in order.

    Args:
        folder: where they go.
        codes: see `grid`; slices lie along the third axis.
        oblique_deg: likewise.
        shear: likewise.
        uid: of the series.
        keep: which slices there are.
        without: tags that are left out.
        tags: "t0028_1052" -> value of further tags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    shape, affine = grid(codes, oblique_deg, shear)
    hu = draw(shape, affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    steps_mm = np.linalg.norm(lps[:3, :3], axis=0)
    row, column = lps[:3, 0] / steps_mm[0], lps[:3, 1] / steps_mm[1]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for k in range(shape[2]) if keep is None else keep:
        image = sitk.GetImageFromArray(np.ascontiguousarray(hu[:, :, k].T)[None])
        image.SetSpacing([float(steps_mm[0]), float(steps_mm[1]), float(steps_mm[2])])
        position = (lps @ [0, 0, k, 1])[:3]
        every = {
            "0008|0016": CT,
            "0008|0018": f"{uid}.{k + 1}",
            "0008|0060": "CT",
            "0010|0020": "P1",
            "0020|000d": f"{uid}.0",
            "0020|000e": uid,
            "0020|0013": str(k),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.8f}" for value in (*row, *column)),
            "0028|1052": "0",
            "0028|1053": "1",
        } | {key[1:].replace("_", "|"): value for key, value in tags.items()}
        for tag, value in every.items():
            if tag not in without:
                image.SetMetaData(tag, value)
        files.append(folder / f"{uid.rsplit('.', 1)[-1]}-{k:03d}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # writing DICOM leaves the process in the C locale
    return files


def _series(folder: Path, **options: object) -> None:
    write_series(folder / "odd", **options)  # type: ignore[arg-type]


def _cut(place: int, folder: Path, left: float = 0.0) -> None:
    """A slice of which a part is left, as after a copy that broke off."""
    file = write_series(folder / "odd")[place]
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * left)])


def _twice(folder: Path) -> None:
    """A slice that is there twice under two names."""
    files = write_series(folder / "odd")
    (folder / "odd" / "copy.dcm").write_bytes(files[5].read_bytes())


def _beside(folder: Path, **options: object) -> None:
    """A second series of the same folder."""
    write_series(folder / "odd")
    write_series(folder / "odd", uid=f"{UID}9", **options)  # type: ignore[arg-type]


def _bolus(folder: Path) -> None:
    """A short series that is a volume, and a longer one of frames at one position."""
    write_series(folder / "odd")
    for frame in range(40):
        write_series(folder / "odd", uid=f"{UID}9", keep=[3], t0020_0013=str(frame), t0008_0018=f"{UID}9.{frame + 1}")[
            0
        ].rename(folder / "odd" / f"bolus-{frame:02d}.dcm")


def _tree(folder: Path) -> None:
    write_series(folder / "patient" / "study" / "series")


def _loose(folder: Path) -> None:
    write_series(folder)


def _company(folder: Path) -> None:
    """With files that are no slices."""
    write_series(folder / "odd")
    (folder / "odd" / "DICOMDIR").write_bytes(b"not really")
    (folder / "odd" / "notes.txt").write_text("notes")
    (folder / "odd" / "._1-000.dcm").write_bytes(b"\x00\x05\x16\x07")


def _no_suffix(folder: Path) -> None:
    for number, file in enumerate(write_series(folder / "odd")):
        file.rename(folder / "odd" / f"IM{number:04d}")


POSITION, ORIENTATION = "0020|0032", "0020|0037"
ODD: dict[str, tuple[Maker, tuple[str, ...]]] = {
    **{f"DICOM, {name}": (partial(_series, codes=codes), OK) for name, codes in AXES.items()},
    "DICOM, oblique by 20 degrees": (partial(_series, oblique_deg=20.0), OK),
    "DICOM, gantry tilt of 15 degrees": (partial(_series, shear=float(np.tan(np.deg2rad(15)))), OK_OR_SAID),
    "DICOM, gantry tilt of -20 degrees": (partial(_series, shear=-float(np.tan(np.deg2rad(20)))), OK_OR_SAID),
    "DICOM, slice missing in the middle": (partial(_series, keep=[k for k in range(30) if k != 12]), SAID),
    "DICOM, slices in random order": (partial(_series, keep=np.random.default_rng(0).permutation(30).tolist()), OK),
    "DICOM, every second slice": (partial(_series, keep=range(0, 30, 2)), OK),
    "DICOM, one slice": (partial(_series, keep=[4]), SAID),
    "DICOM, last slice of 0 bytes": (partial(_cut, -1), TOLD),
    "DICOM, last slice cut in half": (partial(_cut, -1, left=0.5), TOLD),
    "DICOM, first slice cut to its header": (partial(_cut, 0, left=0.1), TOLD),
    "DICOM, slice of 0 bytes in the middle": (partial(_cut, 14), SAID),
    "DICOM, a slice twice": (_twice, OK_OR_SAID),
    "DICOM, no positions": (partial(_series, without=[POSITION]), SAID),
    "DICOM, no orientation": (partial(_series, without=[ORIENTATION]), OK_OR_SAID),
    "DICOM, neither": (partial(_series, without=[POSITION, ORIENTATION]), SAID),
    "DICOM, all slices at one position": (partial(_series, t0020_0032="0\\0\\0"), SAID),
    "DICOM, a shorter series beside": (partial(_beside, keep=range(10)), OK_OR_SAID),
    "DICOM, a scout beside": (partial(_beside, codes="LSP", keep=[10]), OK_OR_SAID),
    "DICOM, a bolus series beside": (_bolus, OK_OR_SAID),
    "DICOM, no rescale intercept": (partial(_series, without=["0028|1052", "0028|1053"]), OK_OR_SAID),
    "DICOM, MR by its modality": (partial(_series, t0008_0060="MR"), OK_OR_SAID),
    "DICOM, patient, study, series": (_tree, OK_OR_SAID),
    "DICOM, loose slices": (_loose, OK_OR_SAID),
    "DICOM, other files beside": (_company, OK_OR_SAID),
    "DICOM, no suffixes": (_no_suffix, OK),
}
