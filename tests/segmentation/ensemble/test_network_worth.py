"""Weights of a network by what it is worth, by hand."""

import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.segmentation.ensemble.network_worth import (
    ClassAgreement,
    WorthSettings,
    class_dice,
    class_shares,
    label_worth,
    network_shares,
    network_worth,
    worth_in_case,
)

SETTINGS = WorthSettings(network_share=0.4, least_worth=0.5, full_worth=0.75, worth_doubt=0.0)


def test_worth_is_agreement_over_label_by_least_squares():
    cases = [ClassAgreement(1.0, 0.8), ClassAgreement(0.5, 0.4)]
    assert network_worth(cases) == pytest.approx((0.8 + 0.2) / 1.25)
    assert network_worth(cases, doubt=1.0) == pytest.approx(1.0 / 2.25)
    assert network_worth([]) == 0.0 and network_worth([ClassAgreement(0.0, 0.0)], doubt=1.0) == 0.0
    assert network_worth([ClassAgreement(0.5, 1.0)]) == 1.0, "no Dice is more"
    assert label_worth(cases) == pytest.approx(1.25 / 1.5) and label_worth([ClassAgreement(0.0, 0.0)]) == 0.0


def test_a_poor_label_says_little_of_the_network_in_its_case():
    assert worth_in_case(ClassAgreement(1.0, 0.3), worth=0.9) == pytest.approx(0.3)
    assert worth_in_case(ClassAgreement(0.0, 0.0), worth=0.9) == pytest.approx(0.9)
    assert worth_in_case(ClassAgreement(0.5, 0.4), worth=0.6) == pytest.approx(0.7)


def test_all_of_the_weight_from_three_quarters_of_the_labels_worth_on_and_none_up_to_half():
    def share(agreement):
        return class_shares({"case": ClassAgreement(1.0, agreement)}, SETTINGS)["case"]

    assert share(1.0) == share(0.75) == 0.4, "one more atlas, however good"
    assert share(0.625) == pytest.approx(0.2)
    assert share(0.5) == 0.0 and share(0.1) == 0.0


def test_a_network_that_fails_in_one_case_has_no_weight_there():
    cases = {f"case_{n}": ClassAgreement(0.9, 0.9) for n in range(9)} | {"case_9": ClassAgreement(0.9, 0.2)}
    shares = class_shares(cases, SETTINGS)
    assert shares["case_0"] == 0.4 and shares["case_9"] == 0.0


def test_a_network_that_is_poor_in_all_cases_together_has_no_weight_where_a_label_seems_poor():
    cases = {f"case_{n}": ClassAgreement(0.9, 0.3) for n in range(5)} | {"case_5": ClassAgreement(0.4, 0.4)}
    assert network_worth([cases["case_5"]]) == 1.0, "in that case alone it seems to be better"
    assert class_shares(cases, SETTINGS)["case_5"] == 0.0


def test_the_shares_of_a_cohort():
    good, poor = ClassAgreement(0.9, 0.85), ClassAgreement(0.9, 0.2)
    cases = {f"case_{n}": {"liver": good, "spleen": poor} for n in range(4)}
    cases["case_4"] = {"liver": ClassAgreement(0.4, 0.2), "spleen": ClassAgreement(0.4, 0.2)}
    shares = network_shares(cases, SETTINGS)
    assert shares["case_0"] == {"liver": 0.4, "spleen": 0.0}
    assert shares["case_4"]["liver"] == 0.4, "the label is poor, and the network is good elsewhere"
    assert shares["case_4"]["spleen"] == 0.0


def test_poor_labels_measure_the_network_poorly():
    settings = WorthSettings(network_share=0.4, least_worth=0.5, full_worth=0.75, worth_doubt=0.25)
    poor = {f"case_{n}": ClassAgreement(0.2, 0.05) for n in range(20)}
    assert network_worth(poor.values(), 0.25) == pytest.approx(0.2 / 1.05)
    assert class_shares(poor, settings)["case_0"] == 0.4, "as good as labels that are worth little"
    assert class_shares({"case": ClassAgreement(0.2, 0.05)}, settings) == {"case": 0.0}, "one case is no evidence"


def test_without_any_label_nothing_speaks_for_the_network():
    assert class_shares({"case": ClassAgreement(0.0, 0.0)}, SETTINGS) == {"case": 0.0}


def test_dice_of_classes_in_one_go():
    first, second = np.array([[[1, 1, 2, 0, 255]]], np.uint8), np.array([[[1, 2, 2, 0, 0]]], np.uint8)
    dice = class_dice(first, second, {"a": 1, "b": 2, "c": 3, "d": 255})
    assert dice == pytest.approx({"a": 2 / 3, "b": 2 / 3, "c": 0.0, "d": 0.0})


def test_settings_out_of_range():
    with pytest.raises(BundleError, match="full_worth"):
        WorthSettings(least_worth=0.5, full_worth=0.5)
