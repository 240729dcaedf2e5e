"""The support with its scribbles, and the region that grew from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.report.collect import CaseResult, Run, optional_json
from bundle.report.markup import Markup, paragraph, section, swatch
from bundle.report.pictures import (
    SMALLEST_VIEW_MM,
    STROKE_SLAB_MM,
    Contours,
    View,
    colours_of,
    three_planes,
    view_around,
)
from bundle.report.trouble import spoken
from bundle.report.volumes import RasVolume, open_image, open_labels
from scripts.common.errors import BundleError
from scripts.pseudo_labels.support_mask import support_mask_file, support_mask_record

SUPPORT_VIEW_MM = 1.6 * SMALLEST_VIEW_MM
CLEAR_BORDER = 0.9  # sureness from which on a region's border is not remarked on
RETURN_WORDS = (
    "Labels sent to the other cases and back agree with the region by a mean Dice of {:.2f}. Which case is scribbled "
    "matters more than how: if this is low, a case whose labels return better will serve all others better."
)


def support(run: Run, results: Mapping[str, CaseResult], pixels: int) -> Markup:
    """The support with its strokes and its region, three planes for every class."""
    title = "Support and its scribbles"
    scribbles_path, image_path = run.existing(run.cohort.get("scribbles")), run.image(run.support or "")
    if run.support is None or scribbles_path is None or image_path is None:
        missing = "No support is recorded" if run.support is None else "The support's image or scribbles are gone"
        return section("support", title, paragraph(f"{missing}, so there is nothing to show here."))
    try:
        image, scribbles = open_image(image_path), open_labels(scribbles_path)
    except BundleError as error:
        return section("support", title, paragraph(f"The support cannot be shown: {error}"))
    told = [
        paragraph(
            f"Strokes within {STROKE_SLAB_MM:g} mm of each slice, in the class's colour; background strokes are grey. "
            "The slices run through the longest strokes of the class."
        )
    ]
    region, returned = _region(run), _returned_dice(run, results)
    if region is not None:
        told.append(
            paragraph(
                "Outlined: the region, whose labels all other cases get. Where it is wrong, correct a copy of its file "
                f"and run again with --region: {region.path}"
            )
        )
    if returned:
        told.append(paragraph(RETURN_WORDS.format(np.mean(list(returned.values())))))
    colours = colours_of(run.classes)
    painted = {label: colours[name] for name, label in run.classes.items()}
    labels = [*run.classes.items(), ("background", None)]
    rows = []
    for name, label in labels:
        mask = np.isin(scribbles.array, [0, *painted], invert=True) if label is None else scribbles.array == label
        facts = _stroke_facts(mask) + _return_facts(returned.get(name)) + _region_facts(region, name)
        heading = f"<h3>{swatch(colours[name], spoken(name))} <small>{facts}</small></h3>\n"
        if mask.any():
            outlined = () if region is None or label is None else (region.outline(label, name, colours[name]),)
            view = _stroke_view(mask, image, [part.labels.array == label for part in outlined])
            strokes = (scribbles, painted, colours["background"])
            heading += three_planes(image, view, pixels, outlined, strokes=strokes)
        rows.append(Markup(heading))
    return section("support", title, *told, *rows)


def _returned_dice(run: Run, results: Mapping[str, CaseResult]) -> dict[str, float]:
    """Class -> Dice of the region and of what comes back when its labels go to a case and back, mean over cases."""
    others = [result.classes for case, result in results.items() if case != run.support]
    found = {name: [classes[name].round_trip_dice for classes in others] for name in run.classes}
    known = {name: [dice for dice in values if dice is not None] for name, values in found.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _return_facts(dice: float | None) -> str:
    return "" if dice is None else f"; what comes back from other cases agrees by Dice {dice:.2f}"


def _stroke_facts(mask: np.ndarray) -> str:
    return f"{int(np.count_nonzero(mask)):,} voxels drawn".replace(",", " ") if mask.any() else "nothing drawn"


def _region_facts(region: _Region | None, name: str) -> str:
    if region is None:
        return ""
    share, border_confidence = region.cut_off.get(name), region.border_confidence.get(name)
    neck = f"; {share:.0%} of what grew was cut off at a neck: look whether the right part is left" if share else ""
    unclear = border_confidence is not None and border_confidence < CLEAR_BORDER
    return neck + (
        f"; no clear border (sureness {border_confidence:.2f}): look how far it should go" if unclear else ""
    )


def _stroke_view(mask: np.ndarray, image: RasVolume, regions: Sequence[np.ndarray]) -> View:
    """Around strokes and region; slices through the longest strokes."""
    strokes = np.argwhere(mask)
    slices = [int(np.argmax(np.bincount(strokes[:, axis]))) for axis in range(3)]
    shown = np.concatenate([strokes, *(np.argwhere(region) for region in regions)])
    return view_around(shown.min(axis=0), shown.max(axis=0), slices, image, SUPPORT_VIEW_MM)


@dataclass(frozen=True)
class _Region:
    """The support's label map, where it lies, the share of each class that necks took, how sure each border is."""

    path: Path
    labels: RasVolume
    cut_off: Mapping[str, float]
    border_confidence: Mapping[str, float]

    def outline(self, label: int, name: str, colour: str) -> Contours:
        return Contours(self.labels, label, spoken(name), "pseudo", colour)


def _region(run: Run) -> _Region | None:
    """The region as given or grown; None where there is none that can be read."""
    given = run.settings.get("support_mask")
    path = Path(given) if given else support_mask_file(run.output_dir, run.support)
    try:
        labels = open_labels(path) if path.exists() else None
    except BundleError:
        labels = None
    if labels is None:
        return None
    card = {} if given else optional_json(support_mask_record(run.output_dir, run.support)) or {}
    return _Region(path, labels, card.get("cut_off", {}), card.get("border_confidence", {}))
