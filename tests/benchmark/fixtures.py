"""Raw results as small as tables need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle.benchmark.results import HEAD, Results, result_line

CLASSES = {"spleen": 1, "liver": 6}
MADE = {
    "date": "2026-01-02",
    "version": "0.1.0",
    "commit": "abc",
    "machine": {"processor": "x", "threads": 2, "gpu": None},
}


def scores(**cases: tuple[float | None, ...]) -> dict[str, Any]:
    """What `evaluate_folder` returns: case -> (spleen's Dice, liver's Dice); None is a class that the truth lacks."""
    rows: dict[str, dict[str, Any]] = {}
    for case, values in cases.items():
        names = zip(CLASSES, values, strict=True)
        rows[case] = {name: {"dice": dice, "status": "absent" if dice is None else "ok"} for name, dice in names}
    classes = {name: _mean([row[name]["dice"] for row in rows.values()]) for name in CLASSES}
    means = [row["dice_mean"] for row in classes.values() if row["dice_mean"] is not None]
    return {"cases": rows, "classes": classes, "mean_dice": sum(means) / len(means)}


def trust(spleen: float, liver: float) -> dict[str, Any]:
    """Of one case: the spleen is predicted 0.4 and flagged, the liver 0.9 and not."""
    true = {"spleen": spleen, "liver": liver}
    predicted, interval = {"spleen": 0.4, "liver": 0.9}, {"spleen": [0.3, 0.5], "liver": [0.85, 1.0]}
    pairs = [
        {
            **{"case": "a", "class": name, "predicted": predicted[name], "interval": interval[name]},
            **{"true": true[name], "flagged": name == "spleen"},
        }
        for name in CLASSES
    ]
    return {"pairs": pairs}


def network(name: str, spleen: float, liver: float, judged: bool = False) -> dict[str, Any]:
    """A network's line, of one test case."""
    further = {"trust": trust(spleen, liver)} if judged else {}
    return result_line("network", name, scores=scores(a=(spleen, liver)), **further)


def run(
    spleen: float, liver: float, what: str = "run", support_mask: str = "as grown", **changes: Any
) -> dict[str, Any]:
    """A run's line, of one test case; half of the points are kept, all of these are right."""
    points = [{"class": name, "kept_mean": 0.5, "precision_mean": 1.0} for name in (*CLASSES, "background")]
    content = {
        "support": "s",
        "variant": "a",
        "support_mask": support_mask,
        "support_mask_scores": scores(s=(0.7, 0.9)) if support_mask == "as grown" else None,
        "points": points,
        "scores": scores(a=(spleen, liver)),
        "trust": trust(spleen, liver),
        "stages": {},
    }
    return result_line(what, f"s a, support mask {support_mask}", **content | changes)


def head(name: str = "toy", **changes: Any) -> dict[str, Any]:
    """On one test and one unlabelled case."""
    facts = {
        "classes": CLASSES,
        "test_cases": ["a"],
        "unlabelled_cases": ["u"],
        "configuration": "small",
        "support": "s",
    }
    return result_line(HEAD, name, **facts | changes)


def results(*lines: Mapping[str, Any], made: Mapping[str, Any] = MADE, **changes: Any) -> Results:
    """A head and further lines, all made alike."""
    return Results(tuple({**line, "made": made} for line in (head(**changes), *lines)))


def _mean(values: list[float | None]) -> dict[str, float | None]:
    present = [value for value in values if value is not None]
    return {"dice_mean": sum(present) / len(present) if present else None, "dice_sd": 0.0 if present else None}
