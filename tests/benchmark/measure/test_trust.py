from bundle.benchmark.measure.trust import trust_pairs
from scripts.quality.records import CheckRecord, ClassCheck


def check(predicted_dice, flagged):
    return ClassCheck(predicted_dice, (0.1, 0.9), 0.8, 1.0, {}, 10.0, 50.0, flagged)


def test_predicted_stands_beside_true_dice():
    classes = {"spleen": check(0.4, True), "liver": check(0.9, False), "kidney": check(0.2, True)}
    record = CheckRecord("a", 0.5, 1.0, False, (), classes)
    truth = {
        "spleen": {"dice": 0.3, "status": "ok"},
        "liver": {"dice": None, "status": "absent"},
        "kidney": {"dice": None, "status": "not predicted"},
    }
    assert trust_pairs({"a": record}, {"cases": {"a": truth}}) == [
        {"case": "a", "class": "spleen", "predicted": 0.4, "interval": [0.1, 0.9], "flagged": True, "true": 0.3},
        {"case": "a", "class": "kidney", "predicted": 0.2, "interval": [0.1, 0.9], "flagged": True, "true": 0.0},
    ]
