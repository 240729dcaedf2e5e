"""The support with its scribbles, and the support mask that grew from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bundle.report.case_results import CaseResult
from bundle.report.markup import Markup, paragraph, section, spoken, swatch
from bundle.report.pictures import STROKE_SLAB_MM, Contours, Strokes, colours_of, three_planes
from bundle.report.run import Run, load_run, tolerant, warnings_of
from bundle.report.volumes import SMALLEST_VIEW_MM, RasVolume, View, open_image, open_labels, view_around
from scripts.common.affines import voxel_ml
from scripts.common.errors import BundleError
from scripts.data.records import PseudoLabelRecord, how_grown
from scripts.data.scribbles import BACKGROUND
from scripts.data.volume_io import holds_labels

SUPPORT_VIEW_MM = 1.6 * SMALLEST_VIEW_MM
CLEAR_BORDER = 0.9  # border confidence from which on a border is not remarked on
SUPPORT_WORDS = "The support is the volume that you scribbled: {}."
STROKE_WORDS = (
    f"Strokes within {STROKE_SLAB_MM:g} mm of each slice, in the class's colour; background strokes are grey. "
    "The slices run through the longest strokes of the class. Dashed: the support mask."
)
MASK_WORDS = (
    "The support mask is the whole organs that grew from the strokes, or that you gave. Its labels are sent to all "
    "other cases. Where it is wrong, correct a copy of its file and run again with --support-mask: {}"
)
ROUND_TRIP_WORDS = (
    "Labels sent to the other cases and back agree with the support mask by a mean Dice of {:.2f} (round-trip Dice). "
    "Which case is scribbled matters more than how: if this is low, a case with a higher one will serve all others "
    "better."
)


@dataclass(frozen=True)
class SupportMask:
    """The support's label map.

    Attributes:
        path: where it lies.
        labels: itself.
        opened_share: class -> share of what grew that opening by reconstruction took; nothing of one that was given.
        border_confidence: class -> how far the image made its border; nothing of one that was given.
        kinds: class -> as what it grew; nothing of one that was given.
    """

    path: Path
    labels: RasVolume
    opened_share: Mapping[str, float] = field(default_factory=dict)
    border_confidence: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    def facts(self, name: str, label: int) -> str:
        """How large a class is, how it grew, and where to look."""
        volume_ml = int(np.count_nonzero(self.labels.array == label)) * voxel_ml(self.labels.affine)
        share, confidence = self.opened_share.get(name), self.border_confidence.get(name)
        facts = how_grown(volume_ml, self.kinds.get(name), confidence)
        if share:
            facts += f"; opening cut off {share:.0%} of what grew at narrow places: look whether the right part is left"
        if confidence is not None and confidence < CLEAR_BORDER:
            facts += "; no clear border: look how far it should go"
        return facts


@dataclass(frozen=True)
class SupportPart:
    """What the page says of the support, and its pictures, which it loads when they are asked for."""

    words: tuple[str, ...]
    pictures: str = ""


def support(run: Run, results: Mapping[str, CaseResult], pixels: int) -> SupportPart:
    """The support with its strokes and its mask, three planes for every class."""
    scribbles_path = None if run.cohort is None else run.existing(run.cohort.scribbles)
    image_path = run.image(run.support or "")
    if run.support is None or scribbles_path is None or image_path is None:
        missing = "No support is recorded" if run.support is None else "The support's image or scribbles are gone"
        return SupportPart((f"{missing}, so there is nothing to show here.",))
    try:
        image, scribbles = open_image(image_path), open_labels(scribbles_path)
    except BundleError as error:
        return SupportPart((f"The support cannot be shown: {error}",))
    mask, round_trip = support_mask(run, run.support), _round_trip_dice(run, results)
    words = [SUPPORT_WORDS.format(run.support), *_warnings(run, run.support)]
    words += [] if mask is None else [MASK_WORDS.format(mask.path)]
    words += [ROUND_TRIP_WORDS.format(np.mean(list(round_trip.values())))] if round_trip else []
    colours = colours_of(run.classes)
    strokes = Strokes(scribbles, {label: colours[name] for name, label in run.classes.items()}, colours[BACKGROUND])
    rows = [paragraph(STROKE_WORDS)]
    for name, label in (*run.classes.items(), (BACKGROUND, None)):
        drawn = strokes.others() if label is None else scribbles.array == label
        facts = _stroke_facts(drawn) + _round_trip_facts(round_trip.get(name))
        facts += "" if mask is None or label is None else f"; support mask: {mask.facts(name, label)}"
        rows.append(Markup(f"<h3>{swatch(colours[name], spoken(name))} <small>{facts}</small></h3>\n"))
        if drawn.any():
            outlined = [] if mask is None or label is None else [_outline(mask, label, name, colours[name])]
            view = _stroke_view(drawn, image, [contours.labels.array == label for contours in outlined])
            rows.append(Markup(three_planes(image, view, pixels, outlined, strokes=strokes)))
    return SupportPart(tuple(words), Markup("".join(rows)))


def support_section(part: SupportPart, key: str, unfolded: bool = False) -> Markup:
    """The section, which loads the pictures from the file of this key, at once where they are unfolded."""
    is_open = ' open="open"' if unfolded else ""
    loaded = Markup(
        f'<details{is_open} data-load="strokes" data-key="{key}"><summary>Strokes and support mask</summary>'
        '<div class="loaded"></div></details>\n'
    )
    return section("support", "The scribbled volume", *map(paragraph, part.words), loaded if part.pictures else "")


def _warnings(run: Run, support: str) -> list[str]:
    """What was remarked on the strokes, and on what grew from them."""
    files = [run.folder.scribble_remarks]
    files += [] if run.choices.support_mask else [run.folder.support_mask.record(support)]
    return [f"Look here: {text}" for file in files for text in warnings_of(file)]


def support_mask_path(run: Run) -> Path:
    """Where it lies or would lie."""
    given, support = run.choices.support_mask, run.support or ""
    if given is not None and holds_labels(given):
        return run.folder.given.label(support)
    return given or run.folder.support_mask.label(support)


def support_mask(run: Run, support: str) -> SupportMask | None:
    """As given or grown; None where there is none that can be read."""
    given, grown, path = run.choices.support_mask, run.folder.support_mask, support_mask_path(run)
    labels, _ = tolerant(lambda file: open_labels(file, run.classes), path)
    if labels is None:
        return None
    record = None if given else tolerant(PseudoLabelRecord.read, grown.record(support))[0]
    return (
        SupportMask(path, labels)
        if record is None
        else SupportMask(path, labels, record.opened_share, record.border_confidence, record.kinds)
    )


def mask_lines(output_dir: Path) -> list[str]:
    """A line for each class of a run's support mask, see `SupportMask.facts`; none without one that can be read."""
    run = load_run(output_dir)
    mask = support_mask(run, run.support or "")
    return [] if mask is None else [f"{name}: {mask.facts(name, label)}" for name, label in run.classes.items()]


def _round_trip_dice(run: Run, results: Mapping[str, CaseResult]) -> dict[str, float]:
    """Class -> round-trip Dice, mean over the other cases."""
    others = [result.classes for case, result in results.items() if case != run.support]
    of_class = {name: [classes[name].round_trip_dice for classes in others] for name in run.classes}
    present = {name: [dice for dice in values if dice is not None] for name, values in of_class.items()}
    return {name: float(np.mean(values)) for name, values in present.items() if values}


def _stroke_facts(drawn: np.ndarray) -> str:
    return f"{int(np.count_nonzero(drawn)):,} voxels drawn".replace(",", " ") if drawn.any() else "nothing drawn"


def _round_trip_facts(dice: float | None) -> str:
    return "" if dice is None else f"; round-trip Dice with other cases {dice:.2f}"


def _outline(mask: SupportMask, label: int, name: str, colour: str) -> Contours:
    return Contours(mask.labels, label, f"{spoken(name)}, support mask", "pseudo", colour)


def _stroke_view(drawn: np.ndarray, image: RasVolume, masks: Sequence[np.ndarray]) -> View:
    """Around strokes and masks; slices through the longest strokes."""
    strokes = np.argwhere(drawn)
    slices = [int(np.argmax(np.bincount(strokes[:, axis]))) for axis in range(3)]
    shown = np.concatenate([strokes, *(np.argwhere(mask) for mask in masks)])
    return view_around(shown.min(axis=0), shown.max(axis=0), slices, image, SUPPORT_VIEW_MM)
