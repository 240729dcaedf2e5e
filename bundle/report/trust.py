"""What the self-check predicts, and, where true labels are given, how well it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bundle.report.charts import trust_charts
from bundle.report.collect import CaseResult, ClassResult, Run
from bundle.report.markup import Markup, number, paragraph, section, swatch, table
from bundle.report.pictures import colours_of
from bundle.report.trouble import spoken
from scripts.quality.calibration import FAILURE, summary

FEW_CASES = 8
FEW_WORDS = (
    "Cases that were checked: {}. So few share most of their errors, and what is predicted for them is far too good. "
    "Look at every one."
)


def trust(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """Predicted Dice per class."""
    checked = {name: [(case, result.classes[name]) for case, result in results.items()] for name in run.classes}
    checked = {n: [(c, f) for c, f in found if f.predicted_dice is not None] for n, found in checked.items()}
    title = "How far to trust the predictions"
    if not any(checked.values()):
        return section("trust", title, paragraph("There was no self-check; mode default makes one."))
    about = paragraph(
        "Nobody told the self-check the truth. It compares the prediction with the one-shot mask and with the labels "
        "that the support and each helping case send to the same volume; results that independent witnesses bear out "
        "are probably right. A low predicted Dice deserves a look, a high one is no proof."
    )
    most = max(len(found) for found in checked.values())
    few = Markup("") if most >= FEW_CASES else paragraph(FEW_WORDS.format(most))
    return section("trust", title, about, few, _table(run, checked), _scored(checked))


def _table(run: Run, checked: Mapping[str, Sequence[tuple[str, ClassResult]]]) -> Markup:
    colours = colours_of(run.classes)
    rows = []
    for name, found in checked.items():
        if not found:
            continue
        values = {case: result.predicted_dice for case, result in found}
        worst = min(values, key=values.get)
        flagged = sum(bool(result.doubts) for _, result in found)
        mean = number(sum(values.values()) / len(values))
        lowest = f"{number(values[worst])} ({worst})"
        rows.append((swatch(colours[name], spoken(name)), mean, lowest, f"{flagged} of {len(found)}"))
    return table(("Class", "Predicted Dice, mean", "Lowest", "Flagged"), rows)


def _scored(checked: Mapping[str, Sequence[tuple[str, ClassResult]]]) -> Markup:
    """Predicted against true Dice, if true labels were given."""
    true = ("prediction", "truth")
    pairs = [
        {"class": name, "predicted": f.predicted_dice, "true": f.dice[true], "flagged": bool(f.doubts)}
        for name, found in checked.items()
        for _, f in found
        if true in f.dice
    ]
    if not pairs:
        return Markup("")
    found = summary(pairs)
    told = (
        f"Against the given true labels, {found['results']} results: mean absolute error "
        f"{number(found['mean_absolute_error'])}, Pearson's r {number(found['pearson_r'])}; "
        f"{found['failures_flagged']} of {found['failures']} failures (Dice below {FAILURE}) were flagged, and "
        f"{found['false_flags']} of the other {found['results'] - found['failures']}."
    )
    return Markup(paragraph(told) + trust_charts(pairs))
