"""The support with its scribbles."""

from __future__ import annotations

import numpy as np

from bundle.report.collect import Run
from bundle.report.markup import Markup, paragraph, section, swatch
from bundle.report.pictures import SMALLEST_VIEW_MM, STROKE_SLAB_MM, View, colours_of, three_planes, view_around
from bundle.report.trouble import spoken
from bundle.report.volumes import RasVolume, open_image, open_labels
from scripts.errors import BundleError

SUPPORT_VIEW_MM = 1.6 * SMALLEST_VIEW_MM


def support(run: Run, pixels: int) -> Markup:
    """The support with its strokes, three planes for every class."""
    title = "Support and its scribbles"
    scribbles_path, image_path = run.existing(run.cohort.get("scribbles")), run.image(run.support or "")
    if run.support is None or scribbles_path is None or image_path is None:
        missing = "No support is recorded" if run.support is None else "The support's image or scribbles are gone"
        return section("support", title, paragraph(f"{missing}, so there is nothing to show here."))
    try:
        image, scribbles = open_image(image_path), open_labels(scribbles_path)
    except BundleError as error:
        return section("support", title, paragraph(f"The support cannot be shown: {error}"))
    intro = paragraph(
        f"Strokes within {STROKE_SLAB_MM:g} mm of each slice, in the class's colour; background strokes are grey. The "
        "slices run through the longest strokes of the class."
    )
    colours = colours_of(run.classes)
    painted = {label: colours[name] for name, label in run.classes.items()}
    labels = [*run.classes.items(), ("background", None)]
    rows = []
    for name, label in labels:
        mask = np.isin(scribbles.array, [0, *painted], invert=True) if label is None else scribbles.array == label
        heading = f"<h3>{swatch(colours[name], spoken(name))} <small>{_stroke_facts(mask)}</small></h3>\n"
        if mask.any():
            view = _stroke_view(mask, image)
            heading += three_planes(image, view, pixels, strokes=(scribbles, painted, colours["background"]))
        rows.append(Markup(heading))
    return section("support", title, intro, *rows)


def _stroke_facts(mask: np.ndarray) -> str:
    return f"{int(np.count_nonzero(mask)):,} voxels drawn".replace(",", " ") if mask.any() else "nothing drawn"


def _stroke_view(mask: np.ndarray, image: RasVolume) -> View:
    voxels = np.argwhere(mask)
    slices = [int(np.argmax(np.bincount(voxels[:, axis]))) for axis in range(3)]
    return view_around(voxels.min(axis=0), voxels.max(axis=0), slices, image, SUPPORT_VIEW_MM)
