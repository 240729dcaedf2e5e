"""The list of a stage's settings: what is listed can be set, and says what it means."""

import re

import pytest

from bundle.command_line import main
from bundle.config_check import check_values
from bundle.pipeline.stages import STAGES, profiled_names
from bundle.setting_list import (
    MEANINGS,
    OUR_FUNCTIONS,
    Setting,
    as_lines,
    documented,
    list_settings,
    meanings_of,
    settings_of,
)
from scripts.common.errors import BundleError

DOCSTRING = """What it is.

    Args:
        depth_mm: how deep, and
            how far.
        low, high: its ends.

    Returns:
        depth_mm: not this one.
"""
NO_SENTENCE = r"(of|and|see|the same|so is|nor is|on each|autocast)\b"  # how words begin that need others before them
EVERY_STAGE = [(mode, stage, small) for mode in STAGES for stage in STAGES[mode] for small in (False, True)]


def test_a_docstring_says_what_each_argument_means_in_one_line():
    assert documented(DOCSTRING) == {"depth_mm": "how deep, and how far.", "low": "its ends.", "high": "its ends."}
    assert documented("Nothing.") == documented("") == {}


def test_meanings_stand_at_the_class_and_are_read_without_importing_it():
    assert meanings_of("scripts.quality.evidence.TrustRule")["tissue_hu"].startswith("a class is flagged, too, if")
    assert meanings_of("torch.optim.Adam") == meanings_of("scripts.quality.evidence.Nothing") == {}
    assert meanings_of("scripts.nowhere.Nothing") == {}


def test_values_components_and_places_are_told_apart():
    config = {
        "imports": ["$import a"],
        "output_dir": "out",
        "device": "$torch.device('cpu')",
        "tissue_hu": 60.0,
        "zoom": "$2 * @tissue_hu",
        "lr_factor": 0.9,
        "rule": {"_target_": "scripts.quality.evidence.TrustRule", "tissue_hu": "@tissue_hu", "least_dice": 0.6},
        "net": {"_target_": "Compose", "transforms": [{"_target_": "X", "keys": "image", "sigma": "@zoom"}]},
        "run": ["$@net"],
    }
    found = settings_of(config)
    assert [(setting.key, setting.value) for setting in found] == [
        ("tissue_hu", 60.0),
        ("zoom", "$2 * @tissue_hu"),
        ("least_dice", 0.6),
    ]
    assert found[0].meaning == meanings_of("scripts.quality.evidence.TrustRule")["tissue_hu"]
    assert found[1].meaning == MEANINGS["zoom"]


def test_a_key_of_several_components_is_listed_by_its_path():
    rule = {"_target_": "scripts.quality.evidence.TrustRule", "least_dice": 0.6}
    assert [setting.key for setting in settings_of({"a": rule, "b": rule})] == ["a#least_dice", "b#least_dice"]


@pytest.mark.parametrize(("mode", "stage", "small"), EVERY_STAGE)
def test_what_is_listed_can_be_set_to_the_value_that_it_has(mode, stage, small):
    found = list_settings(stage, mode, small)
    assert found and len({setting.key for setting in found}) == len(found)
    names = profiled_names(stage, mode, small)
    plain = {s.key: s.value for s in found if not str(s.value).startswith("$")}
    check_values(names, plain)


@pytest.fixture(scope="module")
def every_setting():
    return [(stage, s) for mode, stage, small in EVERY_STAGE for s in list_settings(stage, mode, small)]


def test_every_setting_of_every_stage_says_what_it_means_in_a_line_that_stands_alone(every_setting):
    bad = {
        (stage, setting.key, setting.meaning)
        for stage, setting in every_setting
        if len(setting.meaning.split()) < 3
        or not setting.meaning.endswith(".")
        or "\n" in setting.meaning
        or re.match(NO_SENTENCE, setting.meaning)
    }
    assert every_setting and not bad


def test_what_a_docstring_says_is_told_nowhere_else(every_setting):
    shown = {(setting.key, setting.meaning) for _, setting in every_setting}
    assert set(MEANINGS.items()) <= shown, "of a key that no stage has, or that a docstring tells"
    assert not set(MEANINGS) & set(OUR_FUNCTIONS)
    for key, argument in OUR_FUNCTIONS.items():
        target, _, name = argument.rpartition(".")
        assert (key, meanings_of(target)[name]) in shown


def test_a_line_is_what_set_takes_and_what_it_means():
    settings = [Setting("a", [1, 2], "one"), Setting("long_b", None, ""), Setting("c", "text", "three")]
    assert as_lines("s", settings) == ["s.a=[1, 2]     one", "s.long_b=null", "s.c=text       three"]


def test_the_command_lists_a_stage_and_refuses_another(capsys):
    main(["settings", "self_check"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("self_check.least_dice=0.5 ") and "is flagged" in lines[0]
    main(["settings", "--mode", "paper"])
    assert capsys.readouterr().out.split() == list(STAGES["paper"]), "without a stage, which there are"
    with pytest.raises(SystemExit) as caught:
        main(["settings", "embedding", "--mode", "paper"])
    assert caught.value.code == 2 and "mode paper has no such stage" in capsys.readouterr().err
    with pytest.raises(BundleError, match="mode default has no such stage"):
        list_settings("nothing", "default", False)
