"""The page's section about one case."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bundle.report.case_results import CaseResult, ClassResult, open_maps
from bundle.report.markup import MISSING, Markup, escape, number, paragraph, spoken, swatch, table
from bundle.report.pictures import Contours, Points, colours_of, three_planes
from bundle.report.run import Run
from bundle.report.trouble import Ranked
from bundle.report.volumes import SMALLEST_VIEW_MM, RasVolume, open_image, view_around
from scripts.common.errors import BundleError
from scripts.data.records import PointSet, PropagationRecord
from scripts.data.scribbles import BACKGROUND

MAP_WORDS = {"pseudo": "pseudo label", "prediction": "prediction", "truth": "true label"}
TRUTH_COLOUR = "#FFFFFF"


def case_section(
    run: Run, result: CaseResult, rank: Ranked, anchor: str, pixels: int | None, opened: bool = False
) -> Markup:
    """One case, collapsible: facts, signs of trouble, table of classes, pictures.

    Pictures are at most `pixels` wide before they are enlarged; None leaves them out.
    """
    state = "open" if opened else ""
    attribute = ' open="open"' if opened else ""
    weight = f'<span class="weight">{rank.total:.1f}</span>' if rank.total else ""
    first = escape(rank.signs[0].reason) if rank.signs else "no sign of trouble"
    more = f" and {len(rank.signs) - 1} more" if len(rank.signs) > 1 else ""
    badge = ' <span class="badge">support</span>' if result.id == run.support else ""
    signs = "".join(f"<li>{escape(sign.reason)}</li>\n" for sign in rank.signs)
    return Markup(
        f'<details class="case {state}"{attribute}><summary><strong>{escape(result.id)}</strong>{badge}{weight} '
        f'<span class="hint">{first}{more}</span></summary>\n<div id="{anchor}" class="case-body">\n'
        + paragraph(_facts(run, result.id))
        + (f'<ul class="signs">{signs}</ul>\n' if signs else "")
        + "".join(paragraph(sentence) for sentence in _missing(run, result))
        + _class_table(run, result)
        + _pictures(run, result, pixels)
        + "</div></details>\n"
    )


def _facts(run: Run, case: str) -> str:
    if run.cohort is None or case not in run.cohort.cases:
        return "This case is not in cohort.json."
    entry = run.cohort.cases[case]
    shape = " × ".join(str(size) for size in entry.shape)
    spacing = " × ".join(f"{step:.3g}" for step in entry.spacing_mm)
    return f"{shape} voxels of {spacing} mm, stored {entry.orientation}."


def _missing(run: Run, result: CaseResult) -> list[str]:
    sentences = list(result.notes)
    if not result.propagated:
        sentences.append("Not propagated yet: there are no points for this case.")
    if "pseudo" not in result.maps:
        sentences.append("There is no pseudo label for this case.")
    if "prediction" not in result.maps:
        why = "" if run.has_predictions else ", nor for any other (inference did not run)"
        sentences.append(f"There is no prediction for this case{why}.")
    if run.labels and "truth" not in result.maps:
        sentences.append("There is no true label for this case.")
    return sentences


def _class_table(run: Run, result: CaseResult) -> Markup:
    """Numbers of every class; columns without any number are left out."""
    colours = colours_of(run.classes)
    levels = list(dict.fromkeys(level for of_class in result.classes.values() for level in of_class.similarity))
    columns = [
        "Class",
        "Points kept",
        "Dropped",
        "Score of kept",
        *([f"Mean similarity {', '.join(levels)}"] if levels else []),
    ]
    columns += ["Pseudo label", "Prediction", "Dice pseudo ~ prediction"]
    columns.append("Predicted Dice")
    columns += ["Dice pseudo ~ true", "Dice prediction ~ true"] if "truth" in result.maps else []
    rows = []
    for name, of_class in result.classes.items():
        row: list[object] = [swatch(colours[name], spoken(name)), _kept(of_class), _dropped(of_class)]
        row.append(number(of_class.score))
        row += [" ".join(number(of_class.similarity.get(level)) for level in levels)] if levels else []
        row += [_volume(of_class, which) for which in ("pseudo", "prediction")]
        row += [number(of_class.agreement), _predicted(of_class)]
        if "truth" in result.maps:
            row += [number(of_class.dice.get((which, "truth")), 3) for which in ("pseudo", "prediction")]
        rows.append(row)
    filled = [n for n in range(len(columns)) if any(row[n] != MISSING for row in rows)]
    return table([columns[n] for n in filled], [[row[n] for n in filled] for row in rows], "classes")


def _predicted(result: ClassResult) -> str:
    if result.predicted_dice is None or result.predicted_interval is None:
        return number(result.predicted_dice)
    low, high = result.predicted_interval
    return f"{number(result.predicted_dice)} ({number(low)} to {number(high)})"


def _kept(result: ClassResult) -> Markup | str:
    if result.points is None:
        return MISSING
    if result.not_located:
        return Markup(f'<strong class="bad">not located</strong> (0 of {result.points})')
    share = "" if result.kept_share is None else f" ({result.kept_share:.0%})"
    return f"{result.kept} of {result.points}{share}"


def _dropped(result: ClassResult) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in result.dropped.items()) or MISSING


def _volume(result: ClassResult, which: str) -> str:
    volume = result.volume_ml.get(which)
    if volume is None:
        return MISSING
    return "empty" if volume == 0 else f"{volume:.0f} ml" if volume >= 10 else f"{volume:.1f} ml"


def _pictures(run: Run, result: CaseResult, pixels: int | None) -> Markup:
    if pixels is None:
        return paragraph("The page's budget for pictures went to the cases ranked before this one.")
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
    return Markup("".join(rows))


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
        Contours(maps[final], label, spoken(name), final, colours[name])
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
        Contours(maps[name], result.label, spoken(result.name), name, TRUTH_COLOUR if name == "truth" else colour)
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
    return "the middle of the kept points" if result.kept else "the middle of the dropped points"


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
        verdict = f"dropped: {reason}" if reason else "kept"
        similarity = ", ".join(f"{level} {values[n]:.2f}" for level, values in points.similarities.items())
        tips.append(f"{spoken(name)}, {verdict}, score {score:.2f}" + (f" ({similarity})" if similarity else ""))
    return tips
