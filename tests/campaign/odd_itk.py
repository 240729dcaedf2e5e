"""Odd NRRD and MetaImage files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from tests.campaign.anatomy import draw, grid
from tests.campaign.odd_nifti import OK, SAID, Maker


def itk_image(codes: str = "LPS", oblique_deg: float = 0.0) -> sitk.Image:
    """The body as SimpleITK holds it."""
    shape, affine = grid(codes, oblique_deg)
    image = sitk.GetImageFromArray(draw(shape, affine).transpose())
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing_mm = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _write(name: str, folder: Path, compress: bool = False, **grid_options: float) -> None:
    sitk.WriteImage(itk_image(**grid_options), str(folder / name), compress)


def _other_stem(folder: Path) -> None:
    """A header whose data file has another stem."""
    _write("odd.mhd", folder)
    (folder / "odd.raw").rename(folder / "voxels.bin")
    header = (folder / "odd.mhd").read_text()
    (folder / "odd.mhd").write_text(header.replace("odd.raw", "voxels.bin"))


def _without_data(name: str, folder: Path) -> None:
    _write(name, folder)
    (folder / "odd.raw").unlink()


def _short_data(folder: Path) -> None:
    _write("odd.mhd", folder)
    content = (folder / "odd.raw").read_bytes()
    (folder / "odd.raw").write_bytes(content[: len(content) // 2])


def _vectors(folder: Path) -> None:
    image = itk_image()
    sitk.WriteImage(sitk.Compose(image, image), str(folder / "odd.nrrd"))


def _series(folder: Path) -> None:
    image = itk_image()
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(folder / "odd.nrrd"))


def _other_space(space: str, folder: Path) -> None:
    """The same body with its header in another space, the first two axes the other way round."""
    _write("odd.nrrd", folder)
    head, _, voxels = (folder / "odd.nrrd").read_bytes().partition(b"\n\n")
    lines = [_negated(line) for line in head.decode().replace("left-posterior-superior", space).split("\n")]
    (folder / "odd.nrrd").write_bytes("\n".join(lines).encode() + b"\n\n" + voxels)


def _negated(line: str) -> str:
    if not line.startswith(("space directions", "space origin")):
        return line
    return re.sub(r"\(([^,]+),([^,]+),", lambda xy: f"({-float(xy[1])},{-float(xy[2])},", line)


ODD: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "NRRD": (partial(_write, "odd.nrrd"), OK),
    "NRRD, compressed, oblique": (partial(_write, "odd.nrrd", compress=True, oblique_deg=15.0), OK),
    "NRRD, header and data apart": (partial(_write, "odd.nhdr"), OK),
    "MetaImage": (partial(_write, "odd.mha", compress=True), OK),
    "MetaImage, header and data apart": (partial(_write, "odd.mhd"), OK),
    "MetaImage whose data file has another stem": (_other_stem, OK),
    "MetaImage without its data file": (partial(_without_data, "odd.mhd"), SAID),
    "NRRD without its data file": (partial(_without_data, "odd.nhdr"), SAID),
    "MetaImage with half its data": (_short_data, SAID),
    "NRRD of vectors": (_vectors, SAID),
    "NRRD, 4-D": (_series, SAID),
    "NRRD in RAS": (partial(_other_space, "right-anterior-superior"), OK),
    "NRRD of unknown space": (partial(_other_space, "scanner-xyz"), SAID),
}
