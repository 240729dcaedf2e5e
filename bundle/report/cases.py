"""What the page shows of one case when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bundle.report.case_results import CaseResult, ClassResult, open_maps
from bundle.report.markup import MAP_WORDS, MISSING, Markup, number, paragraph, spoken, swatch, table
from bundle.report.pictures import NEAR_MM, WINDOW_HU, Contours, Points, colours_of, three_planes
from bundle.report.run import Run
from bundle.report.volumes import SMALLEST_VIEW_MM, RasVolume, open_image, view_around
from scripts.common.errors import BundleError
from scripts.common.names import in_ml
from scripts.data.gate.modality import CT, MR
from scripts.data.records import PointSet, PropagationRecord
from scripts.data.scribbles import BACKGROUND

TRUTH_COLOUR = "#FFFFFF"
# Layers of the pictures: name, words, how it looks.
LAYERS = {
    "kept": ("stroke point, found", '<circle class="kept" cx="12" cy="6" r="4.2" fill="#E69F00"/>'),
    "dropped": ("stroke point, not used", '<circle class="dropped" cx="12" cy="6" r="4.2" stroke="#E69F00"/>'),
    "prediction": ("final label", '<path class="c prediction" stroke="#E69F00" d="M1 6h22"/>'),
    "pseudo": ("transferred label", '<path class="c pseudo" stroke="#E69F00" d="M1 6h22"/>'),
    "truth": ("true label", '<path class="c truth" stroke="#FFFFFF" d="M1 6h22"/>'),
}
SCORES = {"hd95_mm": 1, "surface_dice_2mm": 3}  # with true labels: digits
CONVENTIONS = (
    "Radiological convention: the patient's right is on the left of axial and coronal slices, anterior is on the left "
    "of sagittal ones. Slices follow the volume's own axes; their proportions are true to millimetres. {} Points "
    f"within {NEAR_MM:g} mm of the slice are circles, others small dots. Hover for numbers."
)
COLUMN_WORDS = (
    "Transferred label: what the support's labels became in this case. Final label: what counts, with the network's "
    "part. Dice: overlap of two labels, 0 for none, 1 for the same. Points found: those of the support's strokes that "
    "were found again here; score: how well they fit, at most 1."
)
TRUTH_WORDS = (
    " HD95: distance below which 95 % of the two borders lie. Surface Dice: share of the borders that lie within 2 mm."
)


def case_panel(run: Run, result: CaseResult, scores: Mapping[str, Any], pixels: int) -> Markup:
    """What is shown of one case when it is opened: facts, numbers, the place of the viewer, pictures.

    Why it is flagged is said in the table above it.

    Args:
        run: it belongs to.
        result: what was measured.
        scores: class -> its scores with the true label, see `scripts.quality.evaluation`.
        pixels: most that a picture is wide before it is enlarged.
    """
    missing = "".join(paragraph(sentence) for sentence in _missing(run, result))
    return Markup(
        paragraph(_facts(run, result.id), "facts")
        + missing
        + '<div class="viewer-place"></div>\n'
        + _numbers(run, result, scores)
        + _pictures(run, result, pixels)
    )


def _facts(run: Run, case: str) -> str:
    if run.cohort is None or case not in run.cohort.cases:
        return "This case is not in cohort.json."
    entry = run.cohort.cases[case]
    shape = " × ".join(str(size) for size in entry.shape)
    spacing = " × ".join(f"{step:.3g}" for step in entry.spacing_mm)
    return f"{shape} voxels of {spacing} mm, stored {entry.orientation}."


def _missing(run: Run, result: CaseResult) -> list[str]:
    sentences = []
    if not result.propagated:
        sentences.append("Labels were not sent to this case yet.")
    if "pseudo" not in result.maps:
        sentences.append("There is no transferred label for this case.")
    if "prediction" not in result.maps:
        since = "since labels were transferred" if run.has_old_predictions else "yet"
        why = "" if run.has_predictions else f", nor for any other: the network did not run {since}"
        sentences.append(f"There is no final label for this case{why}.")
    if run.labels and "truth" not in result.maps:
        sentences.append("There is no true label for this case.")
    return sentences


def _numbers(run: Run, result: CaseResult, scores: Mapping[str, Any]) -> Markup:
    """Numbers of every class; columns without any number are left out."""
    colours = colours_of(run.classes)
    columns = ["Organ", "Transferred label", "Final label", "Dice of the two", "Points found", "Not used", "Score"]
    true_columns = ["Dice, transferred and true", "Dice, final and true", "HD95, mm", "Surface Dice", "Remark"]
    columns += true_columns if "truth" in result.maps or scores else []
    rows = []
    for name, of_class in result.classes.items():
        row: list[object] = [swatch(colours[name], spoken(name))]
        row += [_volume(of_class, which) for which in ("pseudo", "prediction")]
        row += [number(of_class.agreement), _kept(of_class), _dropped(of_class), number(of_class.score)]
        if len(columns) > len(row):
            row += [number(of_class.dice.get((which, "truth")), 3) for which in ("pseudo", "prediction")]
            row += _scores(scores.get(name))
        rows.append(row)
    filled = [n for n in range(len(columns)) if any(row[n] != MISSING for row in rows)]
    if len(filled) < 2:
        return Markup("")
    shown = table([columns[n] for n in filled], [[row[n] for n in filled] for row in rows], "numbers")
    words = COLUMN_WORDS + (TRUTH_WORDS if "HD95, mm" in [columns[n] for n in filled] else "")
    return Markup(f"<details><summary>Numbers</summary>\n{shown}{paragraph(words)}</details>\n")


def _scores(row: object) -> list[str]:
    """HD95, surface Dice and what was remarked."""
    if not isinstance(row, Mapping):
        return [MISSING] * 3
    return [*(number(row.get(key), digits) for key, digits in SCORES.items()), str(row.get("status") or MISSING)]


def _kept(result: ClassResult) -> Markup | str:
    if result.points is None:
        return MISSING
    share = "" if result.kept_share is None else f" ({result.kept_share:.0%})"
    return f"{result.kept} of {result.points}{share}"


def _dropped(result: ClassResult) -> str:
    return ", ".join(f"{count}: {reason}" for reason, count in result.dropped.items()) or MISSING


def _volume(result: ClassResult, which: str) -> str:
    volume = result.volume_ml.get(which)
    if volume is None:
        return MISSING
    return in_ml(volume)


def _legend(run: Run, modality: str) -> Markup:
    """Switches of the layers, and what is drawn how."""
    switches = "".join(
        f'<label><input type="checkbox" data-layer="{name}" checked="checked"/>'
        f'<svg viewBox="0 0 24 12" width="24" height="12">{sample}</svg>{title}</label>'
        for name, (title, sample) in LAYERS.items()
        if name != "truth" or run.labels
    )
    return Markup(f'<div class="switches">{switches}</div>\n' + paragraph(CONVENTIONS.format(_window(modality))))


def _window(modality: str) -> str:
    if modality == MR:
        return "Grey values of MR are as the method sees them: scaled by percentiles inside the body, black outside."
    low, high = WINDOW_HU
    return f"Window {high - low:.0f} HU wide around {(high + low) / 2:.0f} HU."


def _pictures(run: Run, result: CaseResult, pixels: int) -> Markup:
    path = run.image(result.id)
    if path is None:
        return paragraph("The image is not where cohort.json says, so there are no pictures.")
    try:
        image = open_image(path)
    except BundleError as error:
        return paragraph(f"No pictures: {error}")
    maps, _ = open_maps(run.label_maps(result.id), run.classes)
    maps = {name: volume for name, volume in maps.items() if volume.array.shape == image.array.shape}
    points = _points_of(run.propagation(result.id), image, colours_of(run.classes))
    rows = [_overview(run, result, image, maps, points, pixels)]
    rows += [
        _class_row(run, of_class, image, maps, points.get(name), pixels)
        for name, of_class in result.classes.items()
        if name != BACKGROUND
    ]
    legend = _legend(run, CT if run.cohort is None else run.cohort.modality)
    return Markup(f'<details class="pictures"><summary>Pictures</summary>\n{legend}{"".join(rows)}</details>\n')


def _overview(
    run: Run,
    result: CaseResult,
    image: RasVolume,
    maps: Mapping[str, RasVolume],
    points: Mapping[str, Points],
    pixels: int,
) -> Markup:
    """All classes with their points, background points too, in the part of the body that they span."""
    classes = result.classes.values()
    centres = [of_class.centre for of_class in classes if of_class.centre is not None]
    corners = [corner for of_class in classes for corner in (of_class.low, of_class.high) if corner is not None]
    kept = np.concatenate([np.empty((0, 3)), *(group.voxel[group.kept] for group in points.values())])
    extent = np.concatenate([np.array(corners).reshape(-1, 3), kept])
    if not len(extent):
        extent = np.array([[0, 0, 0], image.array.shape])
    view = view_around(
        extent.min(axis=0), extent.max(axis=0), np.mean(centres or extent, axis=0), image, SMALLEST_VIEW_MM
    )
    final = next((name for name in ("prediction", "pseudo") if name in maps), None)
    colours = colours_of(run.classes)
    contours = [
        Contours(maps[final], label, f"{spoken(name)}, {MAP_WORDS[final]}", final, colours[name])
        for name, label in run.classes.items()
        if final is not None
    ]
    title = "All classes" if final is None else f"All classes, {MAP_WORDS[final]}"
    return Markup(f"<h4>{title}</h4>\n" + three_planes(image, view, pixels, contours, list(points.values())))


def _class_row(
    run: Run, result: ClassResult, image: RasVolume, maps: Mapping[str, RasVolume], points: Points | None, pixels: int
) -> Markup:
    """Three planes through the class's centre."""
    colour = colours_of(run.classes)[result.name]
    heading = swatch(colour, spoken(result.name))
    corners = [corner for corner in (result.low, result.high) if corner is not None]
    shown = np.empty((0, 3)) if points is None else points.voxel[points.kept]
    if not corners and not len(shown) and points is not None:
        shown = points.voxel  # only dropped points are left to look at
    if not corners and not len(shown):
        return Markup(f"<h4>{heading} <small>no points and no voxels: nothing to show</small></h4>\n")
    extent = np.concatenate([np.array(corners).reshape(-1, 3), shown])
    centre = np.median(shown, axis=0) if result.centre is None else np.array(result.centre)
    view = view_around(extent.min(axis=0), extent.max(axis=0), centre, image, SMALLEST_VIEW_MM)
    contours = [
        Contours(
            maps[name],
            result.label,
            f"{spoken(result.name)}, {MAP_WORDS[name]}",
            name,
            TRUTH_COLOUR if name == "truth" else colour,
        )
        for name in ("truth", "prediction", "pseudo")
        if name in maps
    ]
    where = _position(image.to_world_mm(np.array(view.slices)))
    basis = _centre_words(result)
    tiles = three_planes(image, view, pixels, contours, [] if points is None else [points])
    return Markup(f"<h4>{heading} <small>slices through {basis}, {where}</small></h4>\n{tiles}")


def _centre_words(result: ClassResult) -> str:
    shown = next((name for name in ("prediction", "pseudo", "truth") if result.volume_ml.get(name)), None)
    if shown is not None:
        return f"the centre of the {MAP_WORDS[shown]}"
    return "the middle of the points found" if result.kept else "the middle of the points that are not used"


def _position(world_mm: np.ndarray) -> str:
    letters = ("RL", "AP", "SI")
    return (
        " ".join(f"{pair[int(value < 0)]} {abs(value):.0f}" for pair, value in zip(letters, world_mm, strict=True))
        + " mm"
    )


def _points_of(record: PropagationRecord | None, image: RasVolume, colours: Mapping[str, str]) -> dict[str, Points]:
    """Class -> its points on the image's canonical grid; background first, so that classes are drawn over it."""
    if record is None:
        return {}
    names = {value: name for name, value in record.classes.items()} | {0: BACKGROUND}
    groups = {}
    for label in sorted(dict.fromkeys(record.points.labels.tolist()), key=lambda label: label != 0):
        name, points = names.get(label, str(label)), record.points.chosen(record.points.labels == label)
        colour = colours.get(name, colours[BACKGROUND])
        groups[name] = Points(image.to_voxel(points.located_mm), points.kept, _tips(name, points), colour)
    return groups


def _tips(name: str, points: PointSet) -> list[str]:
    """What hovering each of a class's points shows."""
    tips = []
    for n, (score, reason) in enumerate(zip(points.scores, points.reasons, strict=True)):
        verdict = f"not used: {reason}" if reason else "found"
        similarity = ", ".join(f"{level} {values[n]:.2f}" for level, values in points.similarities.items())
        tips.append(f"{spoken(name)}, {verdict}, score {score:.2f}" + (f" ({similarity})" if similarity else ""))
    return tips
