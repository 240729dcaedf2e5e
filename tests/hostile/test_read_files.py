"""Every value and key of every file that is read may be anything: it is used as it is, or refused with its name."""

import json

import pytest
import torch

from bundle.command_line import main
from bundle.pipeline.configs import encoded
from bundle.pipeline.inference import CONFIG, network_overrides
from scripts.common.errors import BundleError
from scripts.common.files import load_tensors, read_json
from scripts.data.cohort import Cohort, load_cohort
from scripts.data.prepare_cohort import prepare_cohort
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.loading import MOST_CHANNELS
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet
from scripts.networks.prnet_weights import load_prnet
from scripts.networks.segmenter import segmentation_network
from tests.hostile.payload import COMPONENT, TEXTS, VALUES, planted
from tests.pipeline_fixtures import FakeStages, input_options, make_cohort, make_weights

CARDS = {
    "embedding": {"widths": [2, 4, 4, 4, 4], "channels": 4, "window_size": [32] * 3, "spacing_mm": [4.0, 4.0, 5.0]},
    "prnet": {
        **{"patch_size": [32] * 3, "width": 1, "pooling": 1, "spacing_mm": [4.0, 4.0, 5.0]},
        **{"max_offset_mm": [90.0] * 3, "box_mm": None},
    },
    "segmentation": {
        **{"classes": {"spleen": 1, "lesion #2": 3}, "spacing_mm": [4.0] * 3, "patch_size": [16] * 3},
        **{"architecture": "unet", "channels": [2, 4], "crop_to_body": False},
    },
}


def untrained(kind):
    card = CARDS[kind]
    if kind == "embedding":
        return AnatomyNet(card["widths"], card["channels"], card["channels"])
    if kind == "prnet":
        return PRNet(card["patch_size"], card["width"], card["pooling"])
    return segmentation_network("unet", 3, card["channels"])


def use(kind, folder):
    """As a run does."""
    if kind == "segmentation":
        encoded(CONFIG, network_overrides(folder))
    else:
        {"embedding": load_embedding, "prnet": load_prnet}[kind](folder)


@pytest.fixture(params=CARDS)
def trained(request, tmp_path):
    """(kind, folder of an untrained network with its card)."""
    write_model(tmp_path, untrained(request.param), CARDS[request.param])
    return request.param, tmp_path


def test_any_value_in_a_card_is_refused_by_name_or_used(trained):
    kind, folder = trained
    use(kind, folder)
    taken = 0
    for evil in VALUES:
        for card in planted(CARDS[kind], evil):
            (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
            try:
                use(kind, folder)
                taken += 1
            except BundleError as error:
                assert error.file in (str(folder / "model.json"), str(folder / "model.pt"))
                assert error.expected and error.found is not None and len(str(error)) < 2000
    assert taken > 0, "class names and what nobody reads"


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("embedding", {"widths": [10**9] * 5}, f"widths: a list of 5, each a whole number, 1 to {MOST_CHANNELS}"),
        ("embedding", {"window_size": [32, 32]}, "window_size: a list of 3, each a whole number, 1 to 512"),
        ("prnet", {"width": True}, "width: a whole number, 1 to 256"),
        (
            "prnet",
            {"max_offset_mm": [9.0, 9.0, float("inf")]},
            "max_offset_mm: a list of 3, each a number above 0, at ",
        ),
        ("segmentation", {"architecture": "os.system"}, "architecture: unet or anatomy"),
        (
            "segmentation",
            {"spacing_mm": [2.0, 2.0, float("nan")]},
            "spacing_mm: a list of 3, each a number above 0, at",
        ),
        ("segmentation", {"classes": {"spleen": 1, "liver": 1}}, "classes: classes, each a name of one line and at "),
        ("segmentation", {"classes": {"_target_": 1}}, "classes: classes, each a name of one line and at most 100 "),
        ("segmentation", {"classes": {"liver": 256}}, "classes: classes, each a name of one line and at most 100 "),
        ("segmentation", {"crop_to_body": "$True"}, "crop_to_body: true or false"),
    ],
)
def test_what_a_card_should_say_is_said(tmp_path, kind, change, expected):
    write_model(tmp_path, untrained(kind), CARDS[kind])
    (tmp_path / "model.json").write_text(json.dumps(CARDS[kind] | change), encoding="utf-8")
    with pytest.raises(BundleError, match=r"the card of the \w+ weights is damaged") as caught:
        use(kind, tmp_path)
    assert caught.value.expected.startswith(expected)
    assert caught.value.found.startswith(next(iter(change)))


def test_a_network_larger_than_its_weights_is_refused_before_it_is_built(tmp_path, monkeypatch):
    write_model(tmp_path, untrained("segmentation"), CARDS["segmentation"])
    card = CARDS["segmentation"] | {"channels": [MOST_CHANNELS] * 8}  # 5 GB
    (tmp_path / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(BundleError, match="the segmentation weights do not load") as caught:
        network_overrides(tmp_path)
    assert caught.value.expected == "model.0.conv.unit0.conv.weight: float [1024, 1, 3, 3, 3]"
    assert caught.value.found == "model.0.conv.unit0.conv.weight: float [2, 1, 3, 3, 3]"


class Opens:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def test_torchs_advice_to_load_anything_is_never_passed_on(tmp_path):
    for kind, content in (("code", [Opens(str(tmp_path / "marker"))]), ("class", torch.nn.Linear(1, 1))):
        torch.save(content, tmp_path / f"{kind}.pt")
    (tmp_path / "damaged.pt").write_bytes(b"damaged")
    (tmp_path / "empty.pt").write_bytes(b"")
    for file in sorted(tmp_path.glob("*.pt")):
        with pytest.raises(ValueError, match=r"\w") as caught:
            load_tensors(file)
        assert "weights_only" not in str(caught.value) and caught.value.__cause__ is None, file.name
    assert not (tmp_path / "marker").exists()
    with pytest.raises(OSError, match="nowhere"):
        load_tensors(tmp_path / "nowhere.pt")


def test_any_value_in_the_cohorts_file_is_refused_or_taken(tmp_path):
    folder = make_cohort(tmp_path)
    prepare_cohort(
        folder / "images", folder / "out", [4.0] * 3, folder / "images" / "case_0.nii.gz", folder / "scribbles.nii.gz"
    )
    file = folder / "out" / "cohort.json"
    content = read_json(file)
    content["cases"] = {"case_0": content["cases"]["case_0"]}
    for evil in (*VALUES, "../../elsewhere"):
        for changed in planted(content, evil):
            file.write_text(json.dumps(changed), encoding="utf-8")
            try:
                cohort = load_cohort(folder / "out")
            except BundleError as error:
                assert error.file == str(file)
            else:
                assert isinstance(cohort, Cohort)
                assert all(
                    folder / "out" / "cache" in path.resolve().parents
                    for path in map(cohort.cached_image, cohort.cases)
                )


@pytest.fixture
def told(monkeypatch):
    """The stages do no work, but their configs are built; what the last run told them."""
    fake = FakeStages()

    def run(names, overrides):
        encoded(names, overrides)
        fake(names, overrides)

    monkeypatch.setattr("bundle.pipeline.runner.run_config", run)
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)
    monkeypatch.setattr("bundle.pipeline.pipeline.write_report", lambda *_: None)
    return fake


def outcome(capsys, *arguments):
    """What a command says as its error; "" if it goes through."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        message = capsys.readouterr().err
        assert stop.code == 2 and "error: " in message and "Traceback" not in message, message
        return message
    return ""


SET = ("--set", "segmentation.max_epochs=2", "--set", "segmentation.plc_start_epoch=1")


def test_any_value_in_the_settings_of_a_run_is_refused_or_taken(tmp_path, told, capsys):
    folder = make_cohort(tmp_path)
    options = ["--output", folder / "out", "--small", "--weights", make_weights(folder / "weights"), *SET]
    assert outcome(capsys, "oneshot", *input_options(folder), *options) == ""
    file = folder / "out" / "run.json"
    content = read_json(file)
    for evil in (TEXTS[0], "_target_", "not UTF-8 \udcff", [COMPONENT], True, 10**400):
        for changed in planted(content, evil):
            file.write_text(json.dumps(changed), encoding="utf-8")
            outcome(capsys, "train", "--output", folder / "out")
    file.write_text(json.dumps(content), encoding="utf-8")
    assert outcome(capsys, "train", "--output", folder / "out") == ""


def test_an_expression_is_taken_from_the_command_line_and_never_from_a_file(tmp_path, told, capsys):
    folder, marker = make_cohort(tmp_path), tmp_path / "marker"
    options = ["--output", folder / "out", "--small", "--weights", make_weights(folder / "weights")]
    expression = f"segmentation.plc_start_epoch=$open({str(marker)!r}, 'w')"
    assert outcome(capsys, "oneshot", *input_options(folder), *options, "--set", expression) == ""
    said = outcome(capsys, "train", "--output", folder / "out")
    assert "hold an expression, which is not taken from a file" in said
    assert f"--set '{expression}' in this command" in said
    assert outcome(capsys, "train", "--output", folder / "out", "--set", expression) == ""
    assert outcome(capsys, "train", "--output", folder / "out", "--set", "segmentation.plc_start_epoch=3") == ""
    assert not marker.exists()


@pytest.mark.parametrize("nested", ['["$1"]', '{"a": "$1"}'])
def test_an_expression_inside_of_a_value_is_none(tmp_path, told, capsys, nested):
    folder = make_cohort(tmp_path)
    options = ["--output", folder / "out", "--small", "--weights", make_weights(folder / "weights")]
    setting = f"segmentation.start_from={nested}"
    assert outcome(capsys, "oneshot", *input_options(folder), *options, "--set", setting) == ""
    assert dict(told.calls)["train"]["start_from"] == json.loads(nested)


@pytest.mark.parametrize(
    "setting",
    ["prnet_coarse.spacing_mm=$[4.0] * 3", "prnet_fine.validation_count=$1", "prnet_fine.patch_size=$[32] * 3"],
)
def test_what_is_needed_before_a_stage_runs_is_no_expression(tmp_path, told, capsys, setting):
    folder = make_cohort(tmp_path)
    weights = ["--weights", make_weights(folder / "weights")] if "patch_size" in setting else []
    options = [*input_options(folder), "--output", folder / "out", "--small", *weights]
    assert "takes no expression" in outcome(capsys, "oneshot", *options, "--set", setting)


@pytest.mark.parametrize(
    "setting",
    [
        'prnet_fine.network_def={"_target_": "os.system", "command": "true"}',
        "prnet_fine.network_def#_target_=os.system",
        'segmentation.run=["x"]',
        'pseudo_labels.settings#growth={"_target_": "os.system"}',
        "segmentation.learning_rate=NaN",
        "segmentation.learning_rate=1e999",
        "segmentation.start_from=[Infinity]",
        "segmentation.max_epochs=@seed",
    ],
)
def test_settings_that_are_neither_data_nor_an_expression(tmp_path, told, capsys, setting):
    folder = make_cohort(tmp_path)
    options = [*input_options(folder), "--output", folder / "out", "--small"]
    assert "config key" in outcome(capsys, "oneshot", *options, "--set", setting)
    assert not (folder / "out").exists()
