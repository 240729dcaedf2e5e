"""Weights of a network by what it is worth, by hand."""

import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.segmentation.network_worth import (
    ClassAgreement,
    WorthSettings,
    class_dice,
    class_shares,
    label_worth,
    network_shares,
    network_worth,
    worth_in_case,
)

SETTINGS = WorthSettings(most_network_share=0.5, worth_margin=0.1, worth_doubt=1.0)


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


def test_no_weight_below_the_labels_by_the_margin_and_most_where_it_is_as_good():
    def share(agreement):
        return class_shares({"case": ClassAgreement(1.0, agreement)}, SETTINGS)["case"]

    assert share(1.0) == 0.5
    assert share(0.95) == pytest.approx(0.25), "in its case and in all together it lacks 0.05"
    assert share(0.9) == pytest.approx(0.0) and share(0.1) == 0.0
    assert class_shares({"case": ClassAgreement(0.0, 0.0)}, SETTINGS) == {"case": 0.5}, "there is nothing to lose"


def test_a_network_that_is_worse_in_all_cases_together_has_no_weight_where_a_label_seems_poor():
    cases = {f"case_{n}": ClassAgreement(0.9, 0.65) for n in range(5)} | {"case_5": ClassAgreement(0.6, 0.6)}
    assert 0.6 + 0.4 * network_worth(cases.values(), 1.0) > 0.6, "in that case alone it seems to be better"
    assert label_worth(cases.values()) - network_worth(cases.values()) > 0.1
    assert class_shares(cases, SETTINGS)["case_5"] == 0.0


def test_the_shares_of_a_cohort():
    good, poor = ClassAgreement(0.9, 0.85), ClassAgreement(0.9, 0.2)
    cases = {f"case_{n}": {"liver": good, "spleen": poor} for n in range(4)}
    cases["case_4"] = {"liver": ClassAgreement(0.4, 0.2), "spleen": ClassAgreement(0.4, 0.2)}
    shares = network_shares(cases, SETTINGS)
    assert shares["case_0"] == {"liver": 0.5, "spleen": 0.0}
    assert shares["case_4"]["liver"] == 0.5, "the label is poor, and the network is good elsewhere"
    assert shares["case_4"]["spleen"] == 0.0


def test_where_all_labels_are_poor_nothing_speaks_for_the_network():
    cases = {f"case_{n}": {"adrenal": ClassAgreement(0.2, 0.05)} for n in range(6)}
    assert network_shares(cases, SETTINGS)["case_0"] == {"adrenal": 0.0}


def test_dice_of_classes_in_one_go():
    first, second = np.array([[[1, 1, 2, 0, 255]]], np.uint8), np.array([[[1, 2, 2, 0, 0]]], np.uint8)
    dice = class_dice(first, second, {"a": 1, "b": 2, "c": 3, "d": 255})
    assert dice == pytest.approx({"a": 2 / 3, "b": 2 / 3, "c": 0.0, "d": 0.0})


def test_settings_out_of_range():
    with pytest.raises(BundleError, match="worth_margin"):
        WorthSettings(worth_margin=0.0)
