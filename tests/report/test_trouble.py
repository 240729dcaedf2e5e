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
    assert ranking["few"].signs[0].reason == "spleen: only 2 of 10 points kept"
    assert "2000 ml, much larger than usual" in ranking["huge"].signs[0].reason
    assert "the prediction is empty" in ranking["empty"].signs[0].reason
    reason = "spleen: not where the support's would be: Dice 0.30; predicted Dice 0.40"
    assert [sign.reason for sign in ranking["flagged"].signs] == [reason]
    assert "score low, mean 0.30 (z −5.4)" in ranking["weak"].signs[0].reason


def test_small_cohorts_are_not_judged_by_their_spread():
    results = {str(n): CaseResult(str(n), {"spleen": class_result(volume_ml={"pseudo": 10.0**n})}) for n in range(4)}
    assert [entry.total for entry in rank_cases(results)] == [0, 0, 0, 0]


def test_robust_z():
    # median 3, absolute deviations 2 1 0 1 97, their median 1
    np.testing.assert_allclose(robust_z(np.array([1.0, 2, 3, 4, 100])), 0.6745 * np.array([-2, -1, 0, 1, 97]))
    np.testing.assert_allclose(robust_z(np.array([1.0, 1, 1, 2])), 0.6745 * np.array([0, 0, 0, 20]))
