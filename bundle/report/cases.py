"""The page's section about one case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bundle.report.collect import CaseResult, ClassResult, Run, open_maps, propagation_of
from bundle.report.markup import MISSING, Markup, escape, number, paragraph, swatch, table
from bundle.report.pictures import (
    SMALLEST_VIEW_MM,
    Contours,
    Points,
    colours_of,
    three_planes,
    view_around,
)
from bundle.report.trouble import Ranked, spoken
from bundle.report.volumes import RasVolume, open_image
from scripts.common.errors import BundleError

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
    entry = run.cohort.get("cases", {}).get(case)
    if entry is None:
        return "This case is not in cohort.json."
    shape = " × ".join(str(size) for size in entry["shape"])
    spacing = " × ".join(f"{step:.3g}" for step in entry["spacing_mm"])
    return f"{shape} voxels of {spacing} mm, stored {entry.get('orientation', '?')}."


def _missing(run: Run, result: CaseResult) -> list[str]:
    sentences = list(result.notes)
    if not result.propagated:
        sentences.append("Not propagated yet: there are no points for this case.")
    if "pseudo" not in result.maps:
        sentences.append("There is no pseudo label for this case.")
    if "prediction" not in result.maps:
        why = "" if run.has("predictions") else ", nor for any other (inference did not run)"
        sentences.append(f"There is no prediction for this case{why}.")
    if run.labels and "truth" not in result.maps:
        sentences.append("There is no true label for this case.")
    return sentences


def _class_table(run: Run, result: CaseResult) -> Markup:
    """Numbers of every class; columns without any number are left out."""
    colours = colours_of(run.classes)
    levels = list(dict.fromkeys(level for found in result.classes.values() for level in found.similarity))
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
    for name, found in result.classes.items():
        row: list[object] = [swatch(colours[name], spoken(name)), _kept(found), _dropped(found), number(found.score)]
        row += [" ".join(number(found.similarity.get(level)) for level in levels)] if levels else []
        row += [_volume(found, which) for which in ("pseudo", "prediction")]
        row += [number(found.agreement), _predicted(found)]
        if "truth" in result.maps:
            row += [number(found.dice.get((which, "truth")), 3) for which in ("pseudo", "prediction")]
        rows.append(row)
    told = [n for n in range(len(columns)) if any(row[n] != MISSING for row in rows)]
    return table([columns[n] for n in told], [[row[n] for n in told] for row in rows], "classes")


def _predicted(found: ClassResult) -> str:
    if found.predicted_dice is None or found.predicted_interval is None:
        return number(found.predicted_dice)
    low, high = found.predicted_interval
    return f"{number(found.predicted_dice)} ({number(low)} to {number(high)})"


def _kept(found: ClassResult) -> Markup | str:
    if found.points is None:
        return MISSING
    if found.not_located:
        return Markup(f'<strong class="bad">not located</strong> (0 of {found.points})')
    share = "" if found.kept_share is None else f" ({found.kept_share:.0%})"
    return f"{found.kept} of {found.points}{share}"


def _dropped(found: ClassResult) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in found.dropped.items()) or MISSING


def _volume(found: ClassResult, which: str) -> str:
    volume = found.volume_ml.get(which)
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
    maps = open_maps(run.label_maps(result.id), [])
    maps = {name: volume for name, volume in maps.items() if volume.array.shape == image.array.shape}
    points = _points_of(propagation_of(run, result.id), image, colours_of(run.classes))
    rows = [_overview(run, result, image, maps, points, pixels)]
    rows += [
        _class_row(run, found, image, maps, points.get(name), pixels)
        for name, found in result.classes.items()
        if name != "background"
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
    centres = [found.centre for found in result.classes.values() if found.centre is not None]
    corners = [corner for found in result.classes.values() for corner in (found.low, found.high) if corner is not None]
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
    run: Run, found: ClassResult, image: RasVolume, maps: Mapping[str, RasVolume], points: Points | None, pixels: int
) -> Markup:
    """Three planes through the class's centre."""
    colour = colours_of(run.classes)[found.name]
    heading = swatch(colour, spoken(found.name))
    corners = [corner for corner in (found.low, found.high) if corner is not None]
    shown = np.empty((0, 3)) if points is None else points.voxel[points.kept]
    if not corners and not len(shown) and points is not None:
        shown = points.voxel  # only dropped points are left to look at
    if not corners and not len(shown):
        return Markup(f"<h4>{heading} <small>no points and no voxels: nothing to show</small></h4>\n")
    extent = np.concatenate([np.array(corners).reshape(-1, 3), shown])
    centre = np.median(shown, axis=0) if found.centre is None else np.array(found.centre)
    view = view_around(extent.min(axis=0), extent.max(axis=0), centre, image, SMALLEST_VIEW_MM)
    contours = [
        Contours(maps[name], found.label, spoken(found.name), name, TRUTH_COLOUR if name == "truth" else colour)
        for name in ("truth", "prediction", "pseudo")
        if name in maps
    ]
    where = _position(image.to_world_mm(np.array(view.slices)))
    basis = _centre_words(found)
    tiles = three_planes(image, view, pixels, contours, [] if points is None else [points])
    return Markup(f"<h4>{heading} <small>slices through {basis}, {where}</small></h4>\n{tiles}")


def _centre_words(found: ClassResult) -> str:
    shown = next((name for name in ("prediction", "pseudo", "truth") if found.volume_ml.get(name)), None)
    if shown is not None:
        return f"the centre of the {MAP_WORDS[shown]}"
    return "the middle of the kept points" if found.kept else "the middle of the dropped points"


def _position(world_mm: np.ndarray) -> str:
    letters = ("RL", "AP", "SI")
    return (
        " ".join(f"{pair[int(value < 0)]} {abs(value):.0f}" for pair, value in zip(letters, world_mm, strict=True))
        + " mm"
    )


def _points_of(
    propagation: Mapping[str, Any] | None, image: RasVolume, colours: Mapping[str, str]
) -> dict[str, Points]:
    """Class -> its points on the image's canonical grid; background first, so that classes are drawn over it."""
    if propagation is None:
        return {}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for point in propagation["points"]:
        groups.setdefault(point["class"], []).append(point)
    return {
        name: Points(
            image.to_voxel(np.array([point["located_mm"] for point in group])),
            np.array([bool(point["kept"]) for point in group]),
            [_tip(point) for point in group],
            colours.get(name, colours["background"]),
        )
        for name, group in sorted(groups.items(), key=lambda item: item[0] != "background")
    }


def _tip(point: Mapping[str, Any]) -> str:
    verdict = "kept" if point["kept"] else f"dropped: {point.get('reason') or 'unknown'}"
    similarity = ", ".join(f"{level} {value:.2f}" for level, value in point.get("similarity", {}).items())
    score = f", score {point['score']:.2f}" if point.get("score") is not None else ""
    return f"{spoken(point['class'])}, {verdict}{score}" + (f" ({similarity})" if similarity else "")
