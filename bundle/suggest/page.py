"""The proposed volumes in pictures, one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bundle.report import page as report_page
from bundle.report.markup import Markup, escape, paragraph, section, table
from bundle.report.pictures import three_planes
from bundle.report.volumes import RasVolume, open_image, view_around
from bundle.suggest.suggestion import COLUMNS, RankedVolume, rows
from scripts.common.affines import to_world
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, read_result
from scripts.data.cohort import Cohort
from scripts.data.gate.admission import verdict_lines

PIXELS = 360
OWN_NAMES = "(your own names in place of those in capitals)"
TITLE = "Which volume to scribble"
WORDS = (
    "The volumes proposed here are most like the others and show the field that most of them show. "
    "The order is a weak hint: look at the volumes, and take one whose organs you can see well and in which nothing is "
    "missing or sick that is there and well in the others."
)
COLUMN_WORDS = (
    "Like the others: median over the other volumes of how well an affine map brings two bodies together, from 0 to 1. "
    "Field shown: share of what at least half of the volumes show along the body."
)


def write_page(file: Path, cohort: Cohort, ranking: Sequence[RankedVolume], next_step: str) -> None:
    """Write it.

    Args:
        file: where.
        cohort: the volumes, and which were left out.
        ranking: of them, the best to scribble first.
        next_step: the command that goes on from here.

    Raises:
        BundleError: it cannot be written.
    """
    pictures = [_picture(cohort, one) for one in ranking if one.proposed]
    parts = [
        section("volumes", TITLE, paragraph(WORDS), *pictures),
        section(
            "next",
            "What next",
            paragraph(f"Draw strokes in it, then {OWN_NAMES}:"),
            Markup(f"<pre>{escape(next_step)}</pre>\n"),
        ),
        section("all", "All volumes", paragraph(COLUMN_WORDS), table(COLUMNS, rows(list(ranking))), _left_out(cohort)),
    ]
    with atomic_path(file) as temporary:
        temporary.write_text(f"{_head()}{''.join(parts)}</main></body></html>\n", encoding="utf-8")


def _picture(cohort: Cohort, one: RankedVolume) -> Markup:
    """Three planes through the middle of a volume's body."""
    case = cohort.cases[one.case]
    remarks = [paragraph(sentence, "warning") for sentence in cohort.warnings.get(one.case, ())]
    facts = f"like the others {one.similarity:.3f}, field shown {one.field_shown:.0%}"
    heading = Markup(f"<h3>{escape(one.case)} <small>{escape(facts)}; {escape(case.source)}</small></h3>\n")
    try:
        image = open_image(case.image)
        body, affine = read_result(cohort.cached_body(one.case))
    except BundleError as error:
        return Markup(heading + paragraph(f"The volume cannot be shown: {error}"))
    last = np.array(image.array.shape) - 1
    view = view_around(np.zeros(3), last, middle_of_body(body > 0, affine, image), image, smallest_mm=0.0)
    return Markup("".join([heading, *remarks, three_planes(image, view, PIXELS)]))


def middle_of_body(body: np.ndarray, affine: np.ndarray, image: RasVolume) -> np.ndarray:
    """(3,) voxel coordinates in the image of the body's centroid; the image's own middle where there is no body.

    Args:
        body: (X, Y, Z) bool, on a grid of its own.
        affine: (4, 4) of that grid, voxel centre to world millimetres.
        image: of the same volume.
    """
    voxels = np.argwhere(body)
    if not len(voxels):
        return (np.array(image.array.shape) - 1) / 2
    return image.to_voxel(to_world(voxels.mean(axis=0, keepdims=True), affine))[0]


def _left_out(cohort: Cohort) -> Markup:
    lines = verdict_lines({case: [_reason(rejected)] for case, rejected in cohort.rejected.items()})
    return Markup("".join(paragraph(f"Left out: {line}") for line in lines))


def _reason(rejected: Mapping[str, str]) -> str:
    return f"{rejected['reason']}. {rejected['remedy']}"


def _head() -> str:
    style = Path(report_page.__file__).with_name("style.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(TITLE)}</title>\n<style>\n{style}</style></head>\n<body>\n<main>\n"
    )
