"""What the self-check predicts, and, where true labels are given, how well it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bundle.report.case_results import CaseResult, ClassResult
from bundle.report.charts import trust_charts
from bundle.report.markup import Markup, number, paragraph, section, spoken, swatch, table
from bundle.report.pictures import colours_of
from bundle.report.run import DEFAULT_MODE, Run
from scripts.quality.calibration import FAILURE, DicePair, summary

FEW_CASES = 8
FEW_WORDS = (
    "Cases that were checked: {}. So few share most of their errors, and what is predicted for them may be too good. "
    "Look at every one."
)
ALL_ACCEPTED_WORDS = "You accepted the label map of every case that was checked: nothing is predicted."
ACCEPTED_WORDS = "Cases whose label maps you accepted are not counted."
METHOD_WORDS = (
    "The self-check does not know the truth. It asks how sure the atlases are of the label, how well they find the "
    "support mask, and whether that mask holds its strokes. Atlases are the labelled volumes that a label came from: "
    "the support, and selected cases."
)

Checked = Mapping[str, ClassResult]  # by case, those of which something was predicted


def trust(run: Run, results: Mapping[str, CaseResult]) -> Markup:
    """Predicted Dice per class."""
    title = "How far to trust the labels"
    everybody, accepted = {name: _checked(results, name) for name in run.classes}, set(run.choices.accepted)
    checked = {
        name: {case: result for case, result in of_class.items() if case not in accepted}
        for name, of_class in everybody.items()
    }
    most = max(map(len, checked.values()), default=0)
    if not most and any(everybody.values()):
        return section("trust", title, paragraph(ALL_ACCEPTED_WORDS))
    if not most:
        remedy = "oneshot and propagate make one" if run.choices.mode == DEFAULT_MODE else "mode default makes one"
        return section("trust", title, paragraph(f"There was no self-check; {remedy}."))
    few = Markup("") if most >= FEW_CASES else paragraph(FEW_WORDS.format(most))
    apart = Markup("") if checked == everybody else paragraph(ACCEPTED_WORDS)
    return section("trust", title, paragraph(METHOD_WORDS), few, apart, _table(run, checked), _scored(checked))


def _checked(results: Mapping[str, CaseResult], name: str) -> Checked:
    of_class = {case: result.classes[name] for case, result in results.items()}
    return {case: result for case, result in of_class.items() if result.predicted_dice is not None}


def _predicted(result: ClassResult) -> float:
    return result.predicted_dice or 0.0


def _table(run: Run, checked: Mapping[str, Checked]) -> Markup:
    colours = colours_of(run.classes)
    rows = []
    for name, results in checked.items():
        if not results:
            continue
        dice = {case: _predicted(result) for case, result in results.items()}
        worst = min(dice, key=lambda case: dice[case])
        flagged = sum(bool(result.reasons) for result in results.values())
        mean = number(sum(dice.values()) / len(dice))
        lowest = f"{number(dice[worst])} ({worst})"
        rows.append((swatch(colours[name], spoken(name)), mean, lowest, f"{flagged} of {len(results)}"))
    return table(("Organ", "Predicted Dice, mean", "Lowest", "Flagged"), rows)


def _scored(checked: Mapping[str, Checked]) -> Markup:
    """Predicted against true Dice, if true labels were given."""
    by_class = {name: _dice_pairs(results.values()) for name, results in checked.items()}
    by_class = {name: pairs for name, pairs in by_class.items() if pairs}
    if not by_class:
        return Markup("")
    calibration = summary([pair for pairs in by_class.values() for pair in pairs])
    sentence = (
        f"Against the given true labels, {calibration['results']} results: mean absolute error "
        f"{number(calibration['mean_absolute_error'])}, Pearson's r {number(calibration['pearson_r'])}; "
        f"{calibration['failures_flagged']} of {calibration['failures']} failures (Dice below {FAILURE}) were flagged, "
        f"and {calibration['false_flags']} of the other {calibration['results'] - calibration['failures']}."
    )
    return Markup(paragraph(sentence) + trust_charts(by_class))


def _dice_pairs(results: Iterable[ClassResult]) -> list[DicePair]:
    scored = ("prediction", "truth")
    return [
        {"predicted": _predicted(result), "true": result.dice[scored], "flagged": bool(result.reasons)}
        for result in results
        if scored in result.dice
    ]
