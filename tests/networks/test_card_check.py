import pytest

from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.networks.card_check import CardCheck

CARD = {"classes": {"spleen": 1, "liver": 6}, "spacing_mm": [4.0, 4.0, 4.0], "modality": "mr", "max_epochs": 2}
CONFIG = {"classes": {"spleen": 1, "liver": 6}, "spacing_mm": (4, 4, 4), "modality": "mr", "channels": [4, 8]}


def checked(folder, **changes):
    CardCheck(folder / "model.pt", CONFIG | changes).attach(None)


def test_a_config_that_says_what_the_card_says_is_taken(tmp_path):
    checked(tmp_path, modality="ct")  # no card
    write_json(tmp_path / "model.json", CARD)
    checked(tmp_path)


def test_another_spacing_or_modality_is_refused_with_what_to_say_instead(tmp_path):
    write_json(tmp_path / "model.json", CARD)
    with pytest.raises(BundleError, match="the config is not that of the network") as caught:
        checked(tmp_path, spacing_mm=[2.0] * 3, modality="ct")
    assert caught.value.expected == "--spacing_mm '[4.0, 4.0, 4.0]' --modality '\"mr\"'"
    assert caught.value.found == 'spacing_mm [2.0, 2.0, 2.0], modality "ct"'


def test_channels_of_classes_in_another_order_are_refused(tmp_path):
    write_json(tmp_path / "model.json", CARD)
    with pytest.raises(BundleError, match="the config is not that of the network"):
        checked(tmp_path, classes={"liver": 6, "spleen": 1})


def test_a_card_of_no_modality_that_there_is_is_damaged(tmp_path):
    write_json(tmp_path / "model.json", CARD | {"modality": "x-ray"})
    with pytest.raises(BundleError, match="the card of the segmentation weights is damaged"):
        checked(tmp_path)


def test_cards_of_earlier_versions_are_of_ct(tmp_path):
    write_json(tmp_path / "model.json", {"classes": CARD["classes"]})
    with pytest.raises(BundleError, match='found: modality "mr"'):
        checked(tmp_path)


def test_a_network_of_another_kind_is_refused_as_such(tmp_path):
    write_json(tmp_path / "model.json", {**CARD, "kind": "segmentation"})
    checked(tmp_path)
    write_json(tmp_path / "model.json", {"kind": "embedding", "channels": 64})
    with pytest.raises(BundleError, match="these are no segmentation weights") as caught:
        checked(tmp_path)
    assert caught.value.found == 'kind: "embedding"'
