"""What a client may send, without a server."""

import pytest

from bundle.config_check import check_values
from bundle.monai_label.gate.rules import (
    LABEL,
    SETTINGS,
    STUDY,
    TRAINING,
    allowed_origins,
    client_settings,
    inference_rules,
    judge,
)
from bundle.pipeline.stages import BASES
from scripts.common.errors import BundleError


def test_settings_are_written_anew_from_their_values():
    assert client_settings(" embedding.max_epochs=\n 12 ;inference.keep_largest=false;") == [
        "embedding.max_epochs=12",
        "inference.keep_largest=false",
    ]
    assert client_settings("segmentation.learning_rate=1e-3") == ["segmentation.learning_rate=0.001"]
    assert client_settings("") == []


def test_all_that_a_client_may_set_is_in_the_configs():
    for name in SETTINGS:
        stage, key = name.split(".")
        assert any(accepts(BASES[stage], key, value) for value in (True, 1)), name


def accepts(names, key, value):
    try:
        check_values(names, {key: value})
    except BundleError as error:
        assert "cannot have this value" in str(error), error
        return False
    return True


def test_a_refusal_names_what_was_found_and_what_may_be():
    with pytest.raises(BundleError) as caught:
        client_settings("segmentation.architecture='x'")
    assert caught.value.found == "'segmentation.architecture'"
    assert "segmentation.max_epochs" in str(caught.value.expected)
    with pytest.raises(BundleError, match=r"'segmentation\.max_epochs' cannot have this value") as caught:
        client_settings("segmentation.max_epochs=0")
    assert caught.value.expected == "a whole number, 1 to 1000" and caught.value.found == "0"


def test_what_viewers_send_is_taken():
    judge({"small": True, "device": "", "set": "", "client_id": "user-xyz"}, TRAINING)
    segments = [
        {"name": name, "idx": value} for value, name in enumerate(("left kidney", "lung (upper)", "Rückenmark"))
    ]
    judge({"label_info": segments, "client_id": None}, LABEL)
    for model in ("", "oneshot_segmentation"):  # before the first training none is selected
        judge({"label_info": segments, "model": model, "client_id": "me"}, LABEL)
    slicer = {
        "device": "NVIDIA X:0",
        "model_filename": "model.pt",
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
    }
    scribbles = {"roi": [], "label_info": [{"name": "a", "id": 1}], "selected_label_name": "a"}
    judge({**slicer, **scribbles, "client_id": "me"}, inference_rules(["NVIDIA X:0"]))
    ohif = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False, "restore_label_idx": False}
    judge(ohif, inference_rules(["cpu"]))


@pytest.mark.parametrize("name", ["CTChest", "abd_01", "1.2.840", "Müller, A (2)", "a+b=c"])
def test_usual_names_of_studies_are_taken(name):
    STUDY("image", name)


@pytest.mark.parametrize("text", ["*", "viewer.example", "http://a/b", "http://", "file://x", "http://*", "null"])
def test_an_origin_that_is_none_is_refused(text):
    with pytest.raises(BundleError, match="--allow-origin"):
        allowed_origins(f"http://localhost:3000;{text}")


def test_origins_are_read_as_browsers_send_them():
    assert allowed_origins("https://Viewer.example:3000/; ;http://10.0.0.5") == (
        "https://viewer.example:3000",
        "http://10.0.0.5",
    )
