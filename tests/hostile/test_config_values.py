"""What reaches a run is exactly the value that was told, whatever texts it holds."""

import random

import pytest
from monai.bundle import ConfigParser

from bundle.config_values import DEEPEST, Component, Expression, as_config
from bundle.pipeline.configs import encoded, read_configs
from scripts.common.errors import BundleError
from tests.hostile.payload import CALL, COMPONENT, RAN, TEXTS


def told(value):
    """The value alone, as an argument, as an argument by reference, and within an expression, as MONAI resolves it."""
    config = {"device": "cpu", "seed": 3, "value": as_config(value), "refers": "@value", "joined": "$[@value]"}
    config["part"] = {"_target_": "builtins.dict", "direct": as_config(value), "referred": "@value"}
    parser = ConfigParser(config)
    parser.parse()
    part, joined = parser.get_parsed_content("part"), parser.get_parsed_content("joined")
    return [
        part["direct"],
        part["referred"],
        parser.get_parsed_content("value"),
        parser.get_parsed_content("refers"),
        *joined,
    ]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_stays_what_it_is_wherever_it_stands(text):
    for value in (
        text,
        [text],
        {"key": text},
        {text: 1},
        {"a": [{text: [text, 2.5, None, True]}]},
        {text: {text: text}},
    ):
        assert told(value) == [value] * 5


@pytest.mark.parametrize("value", [COMPONENT, [COMPONENT], {"loss": COMPONENT, "_mode_": "debug"}])
def test_a_table_that_names_a_class_builds_nothing(value):
    assert told(value) == [value] * 5


def test_random_texts_stay_what_they_are():
    draw = random.Random(0)
    signs = "$@%#:_'\"\\\n{}[]() .targetimportdevice7é\udcff\0"
    for _ in range(300):
        text = "".join(draw.choices(signs, k=draw.randint(1, 12)))
        assert told({text: text}) == [{text: text}] * 5


@pytest.mark.parametrize(
    "value", [None, True, 5, -2.5, 1e-7, "/data/a b.nii.gz", [2.0, 2.0], {"spleen": 1, "organs": ["liver", 6]}]
)
def test_ordinary_values_are_not_encoded(value):
    assert as_config(value) == value


def test_a_value_is_copied():
    value = {"spleen": [1]}
    as_config(value)["spleen"].append(2)
    assert value == {"spleen": [1]}


def test_only_what_is_marked_is_evaluated():
    assert told(Expression("$1 + 2")) == [3] * 5
    parser = ConfigParser({"value": as_config(Component({"_target_": "builtins.complex", "real": 2}))})
    assert parser.get_parsed_content("value") == 2
    assert told({"inside": Expression(f"${CALL}")}) == [{"inside": f"${CALL}"}] * 5, "the mark is the whole value's"


def test_the_payload_would_fire():
    ConfigParser({"value": f"${CALL}"}).get_parsed_content("value")
    ConfigParser({"value": COMPONENT}).get_parsed_content("value")
    assert len(RAN) == 2
    RAN.clear()


def test_what_is_no_data_is_refused():
    deep = 1
    for _ in range(DEEPEST + 1):
        deep = [deep]
    for value in (float("nan"), [float("inf")], deep):
        with pytest.raises(ValueError, match=r"not finite|in one another"):
            as_config(value)
    with pytest.raises(TypeError, match="set is no data"):
        as_config({1})
    with pytest.raises(ValueError, match="no expression"):
        Expression("1 + 2")


@pytest.mark.parametrize("key", ["network_def#_target_", "run", "run#0", "imports", "initialize#0"])
def test_data_never_replace_code(key):
    with pytest.raises(BundleError, match="this config key holds code and takes no data"):
        encoded(["train.json"], {key: "os.system"})
    marked = Expression("$None")
    assert encoded(["train.json"], {key: marked}) == {key: marked}


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_stages_config_holds_the_texts_that_it_was_told(text):
    parser = ConfigParser(read_configs(["inference.json"]))
    items = [{"image": f"/{text}", "case": text}]
    told = {"output_dir": text, "made_of": {text: text}, "classes": {text: 1}, "dataset#data": items}
    parser.update(encoded(["inference.json"], told))
    parser.parse()
    assert {key: parser.get_parsed_content(key) for key in told} == told
    assert parser.get_parsed_content("dataset").data == items
    assert parser.get_parsed_content("handlers#2").made_of == {text: text}
