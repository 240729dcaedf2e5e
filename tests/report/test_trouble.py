"""Which cases come first."""

from __future__ import annotations

import numpy as np

from bundle.report.case_results import CaseResult, ClassResult
from bundle.report.trouble import rank_cases, robust_z


def class_result(**values) -> ClassResult:
    return ClassResult("spleen", 1, **{"points": 10, "kept": 8, "score": 0.7, **values})


def test_ranking_weighs_every_sign():
    def good(volume: float = 200.0, **values) -> ClassResult:
        dice = {("pseudo", "prediction"): 0.9}
        return class_result(**{"volume_ml": {"prediction": volume}, "dice": dice, **values})

    found = {
        "fine": good(),
        "finer": good(210.0),
        "empty": good(0.0),
        "lost": good(kept=0, not_located=True, score=None),
        "few": good(kept=2),
        "apart": good(dice={("pseudo", "prediction"): 0.4}),
        "huge": good(2000.0),
        "weak": good(score=0.3),
        "flagged": good(predicted_dice=0.4, reasons=("not where the support's would be: Dice 0.30", "another")),
    }
    ranking = {
        entry.case: entry for entry in rank_cases({c: CaseResult(c, {"spleen": r}) for c, r in found.items()}, "fine")
    }
    weights = {case: round(entry.total, 6) for case, entry in ranking.items()}
    assert weights == {
        "empty": 3.0,
        "lost": 3.0,
        "huge": 2.0,
        "flagged": 1.8,
        "apart": 1.5,
        "weak": 1.0,
        "few": 0.5,
        "fine": 0.0,
        "finer": 0.0,
    }
    assert list(ranking) == list(weights)
    reasons = {case: [sign.reason for sign in entry.of_class("spleen")] for case, entry in ranking.items()}
    assert reasons == {
        "empty": ["the final label is empty"],
        "lost": ["none of 10 points of its strokes was found again"],
        "huge": ["2000 ml is much larger than usual: median 200 ml"],
        "flagged": ["not where the support's would be: Dice 0.30"],
        "apart": ["transferred and final label disagree: Dice 0.40"],
        "weak": ["the points of its strokes fit badly: mean score 0.30"],
        "few": ["only 2 of 10 points of its strokes were found again"],
        "fine": [],
        "finer": [],
    }


def test_where_the_self_check_has_judged_a_class_its_word_alone_counts():
    doubtful = {"kept": 1, "dice": {("pseudo", "prediction"): 0.1}}
    checked = class_result(**doubtful, predicted_dice=0.9, volume_ml={"prediction": 5.0})
    empty = class_result(**doubtful, predicted_dice=0.9, volume_ml={"prediction": 0.0})
    results = {"checked": checked, "empty": empty, "unchecked": class_result(**doubtful)}
    ranking = rank_cases({case: CaseResult(case, {"spleen": result}) for case, result in results.items()})
    reasons = {entry.case: [sign.reason for sign in entry.signs] for entry in ranking}
    assert reasons["checked"] == [] and reasons["empty"] == ["the final label is empty"]
    assert len(reasons["unchecked"]) == 2


def test_what_bears_no_sign_comes_by_its_lowest_predicted_dice_and_what_was_not_checked_last():
    results = {case: class_result(predicted_dice=dice) for case, dice in (("a", None), ("b", 0.9), ("c", 0.8))}
    ranking = rank_cases({case: CaseResult(case, {"spleen": result}) for case, result in results.items()})
    assert [entry.case for entry in ranking] == ["c", "b", "a"] and not any(entry.total for entry in ranking)


def test_what_is_odd_about_a_volume_is_about_the_whole_case():
    result = CaseResult("odd", {"spleen": class_result()}, warnings=("the values are clipped",))
    (entry,) = rank_cases({"odd": result})
    assert [sign.reason for sign in entry.of_class(None)] == ["the values are clipped"] and entry.total == 1
    assert entry.of_class("spleen") == []


def test_small_cohorts_are_not_judged_by_their_spread():
    results = {str(n): CaseResult(str(n), {"spleen": class_result(volume_ml={"pseudo": 10.0**n})}) for n in range(4)}
    assert [entry.total for entry in rank_cases(results)] == [0, 0, 0, 0]


def test_robust_z():
    # median 3, absolute deviations 2 1 0 1 97, their median 1
    np.testing.assert_allclose(robust_z(np.array([1.0, 2, 3, 4, 100])), 0.6745 * np.array([-2, -1, 0, 1, 97]))
    np.testing.assert_allclose(robust_z(np.array([1.0, 1, 1, 2])), 0.6745 * np.array([0, 0, 0, 20]))
