"""The command line: what it tells the stages, and one clear error for each kind of bad input before any long work."""

import errno
import gc
import json
import logging
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine
from monai.handlers import StatsHandler

from bundle import arguments, command_line, console
from bundle.command_line import main
from bundle.pipeline import pipeline
from bundle.pipeline.modes import MODES
from bundle.pipeline.settings import DEFAULT_MODE, saved_settings
from bundle.version import bundle_version
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from tests.paths import ROOT
from tests.pipeline_fixtures import (
    AFFINE,
    FakeStages,
    input_options,
    make_cohort,
    make_weights,
    save,
    save_segments,
    strokes,
    volume,
)


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was():
    loggers = [logging.getLogger(name) for name in ("", "bundle", "scripts")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def folder(tmp_path):
    return make_cohort(tmp_path)


@pytest.fixture
def stages(monkeypatch):
    """The stages are replaced by ones that do no work; the report is not written."""
    fake = FakeStages()
    monkeypatch.setattr("bundle.pipeline.runner.run_config", fake)
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)  # slow, and there is nothing to collect
    monkeypatch.setattr(pipeline, "write_report", lambda output, labels: output / "report" / "index.html")
    return fake


@pytest.fixture
def refused(stages, capsys):
    """Run a command that must be refused before any stage runs; its message."""

    def run(*arguments):
        gc.collect()  # a progress bar that another test's error left open is written when it is collected
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        message = capsys.readouterr().err
        assert caught.value.code == 2
        assert message.startswith("error: ")
        assert "Traceback" not in message
        assert stages.calls == []
        return message

    return run


def oneshot(folder, *more):
    return ["oneshot", *input_options(folder), "--output", str(folder / "out"), "--small", *more]


def test_oneshot_says_what_it_assumed_and_where_the_results_are(folder, stages, capsys, caplog):
    main(oneshot(folder))
    said = capsys.readouterr().out
    to_points = ["train_prnet", "fine", "first_points", "point_propagation"]
    assert stages.names == [*to_points, "pseudo_labels", "train", "inference"]
    assert "support: case_0; cases: 3; classes: {'spleen': 1, 'liver': 6}" in said
    assert "background strokes: 14; mode: paper, small" in said
    assert caplog.text.count("assumed: Strokes of classes that were not named count as background: 3.") == 1
    assert f"label maps: {folder / 'out' / 'predictions'}" in said
    assert f"report: {folder / 'out' / 'report' / 'index.html'}" in said
    assert "made: 3 label maps, 2 classes each\nlook at first: case_0, spleen: not found\n" in said
    assert f"results: {folder / 'out' / 'results.csv'}" in said


def test_oneshot_leaves_the_same_table_of_results_again(folder, stages):
    main(oneshot(folder))
    files = [folder / "out" / name for name in ("results.json", "results.csv")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    main(oneshot(folder))
    assert [file.read_bytes() for file in files] == before
    content = read_json(files[0])
    assert [(row["case"], row["role"], row["class"], row["volume_ml"]) for row in content["rows"][:3]] == [
        ("case_0", "support", "spleen", 0),
        ("case_0", "support", "liver", 0),
        ("case_1", "unlabelled", "spleen", 0),
    ]
    assert list(content["weights_sha256"]) == ["prnet_coarse", "prnet_fine", "segmentation"]


@pytest.mark.parametrize("command", ["oneshot", "train", "propagate", "support-mask"])
def test_a_command_is_finished_only_with_its_report(folder, stages, monkeypatch, command):
    given = ["--weights", str(make_weights(folder / "weights"))]
    main(oneshot(folder, *given))
    options = {"train": ["--output", str(folder / "out")], "support-mask": [*oneshot(folder)[1:], "--mode", "default"]}
    progress = WorkFolder(folder / "out").progress
    assert read_json(progress)["state"] == "finished"

    def disk_is_full(*_):
        assert read_json(progress)["state"] == "running"
        raise BundleError("no space", stage="report")

    monkeypatch.setattr(pipeline, "write_report", disk_is_full)
    with pytest.raises(SystemExit):
        main([command, *options.get(command, oneshot(folder, *given)[1:])])
    assert read_json(progress)["state"] == "stopped"


def test_propagate_names_the_weights_it_was_given(folder, stages):
    weights = make_weights(folder / "weights")
    (folder / "images" / "bad.nii.gz").write_bytes(b"garbage")
    main(["propagate", *input_options(folder), "--output", str(folder / "out"), "--weights", str(weights)])
    content = read_json(folder / "out" / "results.json")
    hashes = {f"prnet_{name}": sha256_of_file(weights / name / "model.pt") for name in ("coarse", "fine")}
    assert content["weights_sha256"] == hashes
    assert [(row["case"], row["admission"]) for row in content["rows"]] == [("bad", "left out")]


def test_propagate_tells_of_final_labels_only_while_they_are_of_its_pseudo_labels(folder, stages, capsys):
    given = ["--weights", str(make_weights(folder / "weights"))]
    propagate = ["propagate", *oneshot(folder)[1:], *given]
    final, pseudo = (str(folder / "out" / name) for name in ("predictions", "pseudo_labels"))
    main(oneshot(folder, *given))
    main(propagate)
    assert capsys.readouterr().out.count(f"\nlabel maps: {final}\n") == 2, "nothing changed"
    save(folder / "scribbles.nii.gz", strokes((6, 1, 3, 14)))
    main(propagate)
    assert f"\nlabel maps: {pseudo}\n" in capsys.readouterr().out
    main(oneshot(folder, *given))
    assert f"\nlabel maps: {final}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["results.json", "results.csv"])
def test_a_table_of_somebody_elses_is_refused_before_any_work(folder, stages, refused, name):
    main(oneshot(folder))
    stages.calls.clear()
    (folder / "out" / name).write_text("mine")
    assert "somebody else's has the name of the table" in refused(*oneshot(folder))
    assert (folder / "out" / name).read_text() == "mine"


def test_settings_reach_their_stage(folder, stages):
    main(oneshot(folder, "--set", "segmentation.max_epochs=3", "--set", "segmentation.channels=[4, 8]"))
    told = dict(stages.calls)["train"]
    assert told["max_epochs"] == 3
    assert told["channels"] == [4, 8]


def test_the_support_mask_needs_one_volume_and_no_network(folder, stages, capsys):
    for other in ("case_1", "case_2"):
        (folder / "images" / f"{other}.nii.gz").unlink()
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    main(["support-mask", *command])
    assert stages.names == ["support_mask"]
    mask = WorkFolder(folder / "out").support_mask.label("case_0")
    assert f"support mask: {mask}" in capsys.readouterr().out


def test_old_names_still_work_and_say_what_they_are_called_now(folder, stages, caplog, capsys):
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    main(["region", *command])
    assert stages.names == ["support_mask"]
    label = save(folder / "mask.nii.gz", strokes())
    main(["region", *command, "--region", str(label)])
    assert stages.names == ["support_mask"], "the user's own is taken as it is"
    assert f"support mask: {label}" in capsys.readouterr().out
    words = "the old name works in this version for the last time"
    assert caplog.text.count(f"region is called support-mask now; {words}") == 2
    assert caplog.text.count(f"--region is called --support-mask now; {words}") == 1


def test_names_of_today_say_nothing(folder, stages, caplog):
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    main(["support-mask", *command, "--support-mask", str(save(folder / "mask.nii.gz", strokes()))])
    assert "is called" not in caplog.text


def test_nothing_to_accept_is_told(folder, stages, caplog):
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    (folder / "corrected").mkdir()
    main(["support-mask", *command, "--accepted", str(folder / "corrected")])
    assert caplog.text.count("no label map is accepted: --accepted names no case, and no folder that holds one") == 1


def test_the_benchmarks_old_option_is_an_alias():
    parse = arguments.command_parser().parse_args
    old = parse(["benchmark", "default", "--dataset", "d", "--strangers", "o"])
    new = parse(["benchmark", "default", "--dataset", "d", "--out-of-distribution", "o"])
    assert old.out_of_distribution == new.out_of_distribution
    assert (old.old_names, new.old_names) == ({"--strangers": "--out-of-distribution"}, {})


def test_every_command_is_run_by_something():
    (choices,) = (action.choices for action in arguments.command_parser()._subparsers._group_actions)
    assert set(choices) - set(arguments.COMMAND_ALIASES) == set(command_line.COMMANDS)


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_shows_an_example_that_parses(name):
    (choices,) = (action.choices for action in arguments.command_parser()._subparsers._group_actions)
    _, _, example = choices[name].epilog.partition("python -m bundle ")
    assert f"  python -m bundle {example}" in choices[name].format_help().splitlines()
    assert arguments.command_parser().parse_args(shlex.split(example)).command == name


def test_every_option_says_what_it_is_for():
    (choices,) = (action.choices for action in arguments.command_parser()._subparsers._group_actions)
    silent = [(name, action.dest) for name, parser in choices.items() for action in parser._actions if not action.help]
    assert silent == []


def test_options_of_a_run_are_grouped_and_shipped_weights_named():
    (choices,) = (action.choices for action in arguments.command_parser()._subparsers._group_actions)
    said = choices["oneshot"].format_help()
    places = [said.index(f"\n{title}:") for title in ("input", "output", "what you corrected", "method", "example")]
    assert places == sorted(places)
    assert "(abdomen_ct, abdomen_mr, headneck_ct)" in " ".join(said.split())


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_option_is_in_a_group_with_an_example_of_its_own(name):
    (choices,) = (action.choices for action in arguments.command_parser()._subparsers._group_actions)
    positional, optional, *groups = choices[name]._action_groups
    assert [action.dest for action in optional._group_actions] == ["help"] and groups
    assert [action.dest for action in positional._group_actions] == [
        action.dest for action in choices[name]._actions if not action.option_strings
    ]
    for group in groups:
        _, _, example = group.description.partition("such as: ")
        known = {option for action in group._group_actions for option in action.option_strings}
        named = [part for part in shlex.split(example) if part.startswith("--")]
        assert named and set(named) <= known, group.title


def test_help_calls_the_command_line_as_the_user_did(capsys):
    for command, example in ((["--help"], "usage: oneshot-ct "), (["infer", "--help"], "  oneshot-ct infer --images ")):
        with pytest.raises(SystemExit):
            main(command, program="oneshot-ct")
        assert example in capsys.readouterr().out


@pytest.mark.parametrize("name", ["abdomen_ct", "mine"])
def test_the_servers_commands_find_weights_of_a_relative_folder(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "embedding").mkdir(parents=True)
    (tmp_path / "mine" / "embedding" / "model.pt").touch()
    told = []
    monkeypatch.setattr("bundle.monai_label.launch.launch", lambda *given: told.append(given))
    main(["monai-label", "--studies", "ct", "--weights", name])
    ((_, _, _, settings),) = told
    assert settings["weights"] == (name if name == "abdomen_ct" else str(tmp_path / name))


def test_the_parser_knows_the_modes():
    assert set(arguments.MODES) == set(MODES)
    assert arguments.DEFAULT_MODE == DEFAULT_MODE


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["infer", "--help"], ["benchmark", "--help"]])
def test_help_imports_nothing_heavy(command):
    code = f"""
import sys
from bundle.command_line import main
try:
    main({command})
except SystemExit:
    print("loaded:", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.partition("loaded:")
    assert text == f"{bundle_version()}\n" if command == ["--version"] else "usage: python -m bundle" in text
    heavy = {"torch", "monai", "numpy", "scipy", "nibabel", "SimpleITK", "matplotlib", "ignite"}
    assert heavy & {name.split(".")[0] for name in loaded.split()} == set()


def test_mode_paper_grows_no_support_mask(folder, refused):
    assert "mode paper grows no support mask" in refused(
        "support-mask", *input_options(folder), "--output", folder / "out"
    )


def test_propagate_uses_given_weights_and_trains_nothing(folder, stages):
    weights = make_weights(folder / "weights")
    main(["propagate", *input_options(folder), "--output", str(folder / "out"), "--weights", str(weights)])
    assert stages.names == ["point_propagation", "pseudo_labels"]
    assert dict(stages.calls)["point_propagation"]["prnet_dir"] == str(weights)


def test_propagate_finds_the_networks_in_the_output_folder(folder, stages):
    make_weights(folder / "out" / "prnet")
    main(["propagate", *input_options(folder), "--output", str(folder / "out")])
    assert dict(stages.calls)["point_propagation"]["prnet_dir"] == str(folder / "out" / "prnet")


def test_train_needs_nothing_but_the_output_folder(folder, stages):
    weights = make_weights(folder / "weights", spacing_mm=5.0)
    options = ["--weights", str(weights), "--small", "--set", "segmentation.batch_size=1"]
    main(["propagate", *input_options(folder), "--output", str(folder / "out"), *options])
    before = (folder / "out" / "cohort.json").read_bytes()
    stages.calls.clear()
    main(["train", "--output", str(folder / "out"), "--set", "segmentation.max_epochs=3"])
    assert stages.names == ["train", "inference"]
    told = stages.calls[0][1]
    assert (told["max_epochs"], told["batch_size"], told["classes"]) == (3, 1, {"spleen": 1, "liver": 6})
    assert (folder / "out" / "cohort.json").read_bytes() == before
    kept = read_json(folder / "out" / "run.json")
    assert (kept["small"], kept["weights"], kept["mode"]) == (True, str(weights), "paper")


@pytest.mark.parametrize(
    ("option", "profile", "chosen"),
    [
        ("--bounded-labels", "bounded_labels", True),
        ("--no-bounded-labels", "bounded_labels", False),
        ("--small", "bounded_labels", None),
        ("--all-pairs", "all_pairs", True),
    ],
)
def test_profiles_of_mode_paper_are_chosen_once_and_remembered(folder, stages, option, profile, chosen):
    main(oneshot(folder, option))
    assert saved_settings(folder / "out").get(profile) is chosen
    stages.calls.clear()
    main(["train", "--output", str(folder / "out")])
    assert saved_settings(folder / "out").get(profile) is chosen and stages.calls == []


def test_train_after_oneshot_has_nothing_to_do(folder, stages):
    main(oneshot(folder))
    stages.calls.clear()
    main(["train", "--output", str(folder / "out")])
    assert stages.calls == []


def test_train_without_any_run_before(folder, refused):
    message = refused("train", "--output", folder / "out")
    assert "nothing was run in this output folder yet" in message
    assert "run.json" in message
    assert "--images, --support, --scribbles" in message


# ---------------------------------------------------------------------------------------------------------- bad input


def test_scribbles_on_another_grid(folder, refused):
    save(folder / "scribbles.nii.gz", strokes()[:-1])
    message = refused(*oneshot(folder))
    assert "stage cohort, case case_0] the scribbles are not on the support's grid" in message
    assert "scribbles.nii.gz" in message
    assert "expected: 12 x 11 x 10" in message
    assert "found: 11 x 11 x 10" in message


def test_scribbles_with_another_affine(folder, refused):
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    save(folder / "scribbles.nii.gz", strokes(), shifted)
    message = refused(*oneshot(folder))
    assert "the scribbles' affine is not the support's" in message
    assert "found: 0.5 mm apart" in message


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ((), [], "the scribbles are empty"),
        ((1, 14), [], "the class liver is named but not drawn"),
        ((1, 6), [], "there is no background stroke"),
        ((1, 6, 14), ["--classes", "spleen:1,heart:9"], "the class heart is named but not drawn"),
        ((1, 6, 14), ["--classes", "spleen"], "cannot read the classes"),
        ((1, 6, 14), ["--classes", "spleen:1,liver:14"], "the class liver has the background's value"),
    ],
)
def test_scribbles_and_classes_that_do_not_agree(folder, refused, values, options, message):
    save(folder / "scribbles.nii.gz", strokes(values))
    assert message in refused(*oneshot(folder, *options))


def test_unknown_class_of_a_known_dataset(folder, refused):
    (folder / "dataset.json").write_text(json.dumps({"labels": {"1": "spleen", "6": "liver"}}))
    message = refused(*oneshot(folder, "--classes", "spleen:1,lever:6"))
    assert "unknown class lever" in message
    assert "expected: spleen:1, liver:6" in message


def bad_volumes(images):
    """Nine files no CT can be read from: identifier -> part of the reason."""
    tiny = np.diag([0.001, 4, 4, 1.0])
    save(images / "b_2d.nii.gz", volume(0)[:, :, 0])
    save(images / "b_4d.nii.gz", np.stack([volume(0)] * 2, axis=-1))
    save(images / "b_nan.nii.gz", np.where(volume(0) > 50, np.nan, 0.0).astype(np.float32))
    save(images / "b_constant.nii.gz", np.zeros((12, 12, 12), np.int16))
    save(images / "b_spacing.nii.gz", volume(0), tiny)
    (images / "b_nothing.nii.gz").touch()
    (images / "b_garbage.nii.gz").write_bytes(b"garbage")
    (images / "b_garbage2.nrrd").write_bytes(b"garbage")
    cut = (images / "case_1.nii.gz").read_bytes()
    (images / "b_cut.nii.gz").write_bytes(cut[: len(cut) // 2])
    return {
        **{"b_2d": "2-D", "b_4d": "4-D", "b_nan": "not finite", "b_constant": "constant"},
        **{"b_spacing": "spacing is absurd", "b_nothing": "empty", "b_garbage": "cannot be read"},
        **{"b_garbage2": "cannot be read", "b_cut": "cannot be read"},
    }


def test_bad_volumes_are_named_and_the_others_go_on(folder, stages, monkeypatch, caplog):
    expected = bad_volumes(folder / "images")
    main(oneshot(folder))
    cohort = load_cohort(folder / "out")
    assert list(cohort.cases) == ["case_0", "case_1", "case_2"]
    assert set(cohort.rejected) == set(expected)
    for case, reason in expected.items():
        assert reason in cohort.rejected[case]["reason"], case
        assert case in caplog.text
    assert len(dict(stages.calls)["inference"]["dataset#data"]) == 3
    monkeypatch.undo()
    main(["report", "--output", str(folder / "out")])
    page = (folder / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert [case for case in expected if case not in page] == []


def test_fewer_than_two_volumes(folder, refused):
    for number in (1, 2):
        (folder / "images" / f"case_{number}.nii.gz").unlink()
    message = refused(*oneshot(folder))
    assert "too few good volumes" in message
    assert "expected: at least 2" in message
    assert "found: 1" in message


def test_fewer_than_two_volumes_once_the_bad_ones_are_left_out(folder, refused):
    (folder / "images" / "case_1.nii.gz").write_bytes(b"garbage")
    (folder / "images" / "case_2.nii.gz").write_bytes(b"garbage")
    weights = make_weights(folder / "weights")
    message = refused("propagate", *input_options(folder), "--output", folder / "out", "--weights", weights)
    assert "found: 1, rejected: case_1, case_2" in message


def test_no_images_folder(folder, refused):
    options = oneshot(folder)
    options[options.index("--images") + 1] = str(folder / "nowhere")
    assert "the images folder is missing" in refused(*options)


def test_support_outside_the_folder_is_added(folder, stages, caplog):
    options = oneshot(folder)
    (folder / "images" / "case_0.nii.gz").rename(folder / "mine.nii.gz")
    options[options.index("--support") + 1] = str(folder / "mine.nii.gz")
    main(options)
    assert list(load_cohort(folder / "out").cases) == ["case_1", "case_2", "mine"]
    assert "assumed: The support mine was not in the images folder and was added to the cohort." in caplog.text


def test_the_support_may_be_called_by_its_name(folder, stages):
    options = oneshot(folder)
    options[options.index("--support") + 1] = "case_0"
    main(options)
    assert load_cohort(folder / "out").support == "case_0"
    assert read_json(folder / "out" / "run.json")["support"] == str(folder / "images" / "case_0.nii.gz")


def test_cases_may_be_accepted_by_their_names_and_train_remembers_them(folder, stages):
    save(folder / "out" / "predictions" / "case_1.nii.gz", strokes())
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    (folder / "out" / "state.json").write_text("{}")
    main(["support-mask", *command, "--accepted", "case_1"])
    assert read_json(folder / "out" / "run.json")["accepted"] == ["case_1"]
    assert (folder / "out" / "accepted" / "case_1.nii.gz").is_file()
    assert saved_settings(folder / "out")["accepted"] == ("case_1",)
    with pytest.raises(SystemExit):  # nothing was propagated yet
        main(["train", "--output", str(folder / "out")])
    assert (folder / "out" / "accepted" / "case_1.nii.gz").is_file()
    main(["support-mask", *command])
    assert not (folder / "out" / "accepted" / "case_1.nii.gz").exists()


def test_segments_of_an_accepted_label_map_that_are_not_taken_are_named_once(folder, stages, caplog):
    file = save_segments(folder / "maps" / "case_1.seg.nrrd", strokes(), {"spleen (corrected)": 1, "liver": 6})
    command = [*input_options(folder), "--output", str(folder / "out"), "--mode", "default", "--small"]
    main(["support-mask", *command, "--accepted", str(file.parent)])
    said = f"case_1: {file}: Segments that are called like no class are not taken: spleen (corrected)."
    assert caplog.messages.count(said) == 1


def test_the_version_is_that_of_the_metadata(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == read_json(ROOT / "configs" / "metadata.json")["version"] + "\n"


@pytest.mark.parametrize(
    ("command", "gpu", "more", "is_warned"),
    [
        ("oneshot", False, [], True),
        ("oneshot", False, ["--small"], False),
        ("oneshot", True, [], False),
        ("oneshot", True, ["--device", "cpu"], True),
        ("train", False, [], True),
        ("support-mask", False, ["--mode", "default"], False),
    ],
)
def test_the_full_configuration_without_a_gpu_is_warned_of_once(
    folder, monkeypatch, caplog, command, gpu, more, is_warned
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(pipeline, "Pipeline", lambda *_: (_ for _ in ()).throw(BundleError("enough")))
    with pytest.raises(SystemExit):
        main([command, *input_options(folder), "--output", str(folder / "out"), *more])
    assert caplog.text.count("takes many hours on a CPU; --small is") == is_warned


def test_no_support_at_all(folder, refused):
    options = oneshot(folder)
    options[options.index("--support") + 1] = str(folder / "nowhere.nii.gz")
    assert "the support is missing" in refused(*options)


def test_bad_support(folder, refused):
    save(folder / "images" / "case_0.nii.gz", np.zeros((12, 11, 10), np.int16))
    assert "case case_0] the volume is constant" in refused(*oneshot(folder))


def test_support_twice_is_used_once(folder, stages, caplog):
    save(folder / "images" / "copy.nii.gz", volume(0))
    main(oneshot(folder))
    assert list(load_cohort(folder / "out").cases) == ["case_0", "case_1", "case_2"]
    assert "copy is a copy of the support case_0 and was dropped" in caplog.text


def test_another_volume_of_the_supports_name(folder, refused):
    save(folder / "elsewhere" / "case_0.nii.gz", volume(7))
    options = oneshot(folder)
    options[options.index("--support") + 1] = str(folder / "elsewhere" / "case_0.nii.gz")
    assert "another volume of the support's name" in refused(*options)


def test_output_that_cannot_be_written(folder, refused):
    (folder / "out").write_text("a file")
    message = refused(*oneshot(folder))
    assert "the output folder cannot be written" in message
    assert str(folder / "out") in message


def test_output_disk_full(folder, refused, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("scripts.data.gate.output_space.shutil.disk_usage", lambda _: usage)
    assert "too little free space" in refused(*oneshot(folder))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("segmentation.nonsense=1", "unknown config key 'nonsense'"),
        ("segmentation.train#nonsense=1", "unknown config key 'train#nonsense'"),
        ("training.max_epochs=1", "mode paper has no such stage"),
        ("segmentation.max_epochs=many", "config key 'max_epochs' cannot have this value"),
        ("segmentation.max_epochs", "cannot read --set"),
        ("max_epochs=3", "cannot read --set"),
        ("segmentation.=3", "cannot read --set"),
    ],
)
def test_settings_that_cannot_be(folder, refused, setting, message):
    assert message in refused(*oneshot(folder, "--set", setting))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("max_epoch", r"such as max_epochs\b"),
        ("zzz", r"such as (\w+, ){7}\w+ and \d+ more;"),
        ("train#trainr", "trainer;"),
    ],
)
def test_of_an_unknown_setting_the_likely_ones_are_named_and_the_command_that_lists_all(folder, refused, key, expected):
    said = refused(*oneshot(folder, "--set", f"segmentation.{key}=2"))
    assert re.search(f"expected: {expected}", said) and "`settings segmentation --mode paper` lists all" in said
    assert "imports" not in said and "_target_" not in said and len(max(said.splitlines(), key=len)) < 200
    assert "`settings segmentation` lists all" in refused(
        *oneshot(folder, "--mode", "default", "--set", f"segmentation.{key}=2")
    )


def test_weights_that_are_not_there(folder, refused):
    command = ["propagate", *input_options(folder), "--output", folder / "out"]
    message = refused(*command, "--weights", folder / "nowhere")
    assert "no weights for mode paper of that name or in that folder" in message
    assert str(folder / "nowhere") in message
    assert "no weights for mode paper" in refused(*command), "nothing trained in the output folder either"


def test_weights_of_another_spacing(folder, refused):
    weights = make_weights(folder / "weights", fine={"spacing_mm": [3.0] * 3})
    message = refused(*oneshot(folder, "--weights", weights))
    assert "stage weights] the PRNet weights were trained with another spacing_mm" in message
    assert "expected: [4.0, 4.0, 4.0]" in message
    assert "found: [3.0, 3.0, 3.0]" in message


def test_labels_folder_that_is_not_there(folder, refused):
    assert "the labels folder is missing" in refused(*oneshot(folder, "--labels", folder / "nowhere"))


def test_device_that_is_not_there(folder, refused):
    assert "this device cannot be used" in refused(*oneshot(folder, "--device", "gpu"))


# ---------------------------------------------------------------------------------------------------- other commands


def test_evaluate_prints_a_table_and_writes_json(folder, capsys):
    for name in ("truth", "predicted"):
        save(folder / name / "a.nii.gz", strokes())
    options = ["--predictions", str(folder / "predicted"), "--labels", str(folder / "truth")]
    main(["evaluate", *options, "--classes", "spleen:1,liver:6", "--json", str(folder / "scores.json")])
    assert "mean Dice over classes 1.000, 1 cases" in capsys.readouterr().out
    assert read_json(folder / "scores.json")["cases"]["a"]["spleen"]["dice"] == 1.0


@pytest.mark.parametrize("noted", [None, "beside", "above"])
def test_evaluate_takes_values_of_the_predictions_from_their_table_or_the_command(folder, capsys, caplog, noted):
    """The liver has 6 in the labels and 2 in the predictions."""
    predicted = folder / "predicted"
    save(folder / "truth" / "a.nii.gz", strokes())
    save(predicted / "a.nii.gz", np.where(strokes() == 6, 2, strokes()))
    options = ["--predictions", str(predicted), "--labels", str(folder / "truth"), "--classes", "spleen:1,liver:6"]
    main(["evaluate", *options, "--predicted-classes", "liver:2"])
    if noted is not None:
        table, prefix = (predicted, "") if noted == "beside" else (folder, "predicted/")
        about = {"case": "a", "source": "a.nii.gz", "label_map": f"{prefix}a.nii.gz"}
        rows = [{**about, "class": name, "label": value} for name, value in LIVER_2.items()]
        rows += [{**about, "class": "liver", "label": 9, "label_map": "elsewhere/a.nii.gz"}]
        rows += [{**about, "class": None, "label": None, "label_map": None}]
        write_json(table / "results.json", {"rows": rows})
    main(["evaluate", *options])
    first, second = capsys.readouterr().out.split("mean Dice over classes ")[1:]
    assert first.startswith("1.000") and second.startswith("0.500" if noted is None else "1.000")
    assert ("says liver 2;" in caplog.text) is (noted is not None)


LIVER_2 = {"spleen": 1, "liver": 2}


def test_evaluate_scores_the_others_and_names_every_case_that_it_cannot_compare(folder, capsys):
    for name in "abc":
        save(folder / "truth" / f"{name}.nii.gz", strokes())
        save(folder / "predicted" / f"{name}.nii.gz", strokes()[: 5 if name == "b" else None])
    (folder / "truth" / "c.nii.gz").write_bytes(b"no volume")
    options = ["--predictions", str(folder / "predicted"), "--labels", str(folder / "truth")]
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *options, "--classes", "spleen:1,liver:6", "--json", str(folder / "scores.json")])
    said = capsys.readouterr()
    assert left.value.code == 2 and "mean Dice over classes 1.000, 1 cases" in said.out
    assert "2 of 3 cases failed, the others are done" in said.err
    assert "\n    b: " in said.err and "\n    c: " in said.err
    assert list(read_json(folder / "scores.json")["cases"]) == ["a"]


def test_evaluate_without_predictions(folder, refused):
    options = ["--labels", folder / "images", "--classes", "spleen:1"]
    assert "folder is missing" in refused("evaluate", "--predictions", folder / "nowhere", *options)


def test_report_without_a_run(folder, refused):
    assert "the work directory is missing" in refused("report", "--output", folder / "nowhere")


@pytest.mark.parametrize(
    ("card", "weights", "message"),
    [
        (None, None, "no segmentation weights here"),
        ({"classes": {}}, b"", "the card of the segmentation weights is damaged"),
        (read_json(ROOT / "models" / "model.json"), b"damaged", "the segmentation weights do not load"),
    ],
)
def test_infer_without_a_usable_network(folder, refused, card, weights, message):
    model = folder / "model"
    model.mkdir()
    if card is not None:
        (model / "model.json").write_text(json.dumps(card))
        (model / "model.pt").write_bytes(weights)
    said = refused("infer", "--images", folder / "images", "--model", model, "--output", folder / "predicted")
    assert message in said
    assert str(model) in said


def test_infer_names_the_network_one_folder_below(folder, refused):
    """Not the embedding network beside it."""
    for network, shipped in {"embedding": "abdomen_ct/embedding", "segmentation": "."}.items():
        for name in ("model.json", "model.pt"):
            (folder / "run" / network).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "models" / shipped / name, folder / "run" / network / name)
    said = refused("infer", "--images", folder / "images", "--model", folder / "run", "--output", folder / "predicted")
    assert f"expected: a trained network, such as that in {folder / 'run' / 'segmentation'}\n" in f"{said}\n"


@pytest.mark.parametrize("there", [False, True])
def test_the_shipped_network_is_called_by_its_name_unless_a_folder_is(tmp_path, monkeypatch, there):
    """Whoever installed the wheel does not know where it lies."""
    asked = []
    monkeypatch.setattr("bundle.pipeline.inference.infer_folder", lambda images, model, *_, **__: asked.append(model))
    monkeypatch.setattr("bundle.results.last_lines.last_lines", lambda table: [])
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "shipped").mkdir()
    main(["infer", "--images", "images", "--model", "shipped", "--output", "labels"])
    assert asked == [Path("shipped") if there else ROOT / "models"]


def test_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bundle.demo.run_demo", interrupt)
    with pytest.raises(SystemExit) as caught:
        main(["demo"])
    assert caught.value.code == 130
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "verbose", "status", "has_traceback"),
    [
        (BundleError("too few", case="a"), False, 2, False),
        (BundleError("too few", case="a"), True, 2, True),
        (OSError(errno.ENOSPC, "No space left on device", "a.nii"), False, 2, False),
        (KeyError("liver"), False, 1, True),
    ],
)
def test_only_a_fault_of_the_program_shows_a_traceback(monkeypatch, capsys, error, verbose, status, has_traceback):
    def fail(_):
        raise error

    monkeypatch.setattr("bundle.demo.run_demo", fail)
    with pytest.raises(SystemExit) as caught:
        main([*(["--verbose"] if verbose else []), "demo"])
    said = capsys.readouterr().err
    assert caught.value.code == status and ("Traceback" in said) == has_traceback
    assert said.count("\nerror: ") + said.startswith("error: ") == 1


def test_an_error_in_a_training_is_said_once(capsys):
    """Two engines of ignite log it on its way, and MONAI's statistics a traceback."""
    console.set_up_logging(verbose=False)
    trainer = Engine(lambda engine, batch: evaluator.run([0]))
    evaluator = Engine(lambda engine, batch: [][batch])
    for engine in (trainer, evaluator):
        StatsHandler(iteration_log=False).attach(engine)
    with pytest.raises(IndexError):
        trainer.run([0])
    assert capsys.readouterr() == ("", "")


CHATTY = """
import logging, sys
from bundle import command_line
def talk(options):
    for number in range(100_000):
        {line}
command_line.COMMANDS["demo"] = talk
command_line.main(["demo"])
"""


@pytest.mark.parametrize(
    "line",
    [
        "logging.getLogger('bundle').info('line %d', number)",
        "print(number)",
        "print(number, file=sys.stderr)",
        "print(number, file=sys.stderr) if number else logging.getLogger('bundle').info('first')",
    ],
)
def test_a_reader_who_leaves_ends_the_command_quietly(line):
    """As `python -m bundle ... 2>&1 | head -1` does."""
    code = [sys.executable, "-c", CHATTY.format(line=line)]
    process = subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "Traceback" not in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141


@pytest.mark.parametrize("arguments", ["--help", "infer --help"])
def test_help_may_be_read_in_part(arguments):
    command = f"{sys.executable} -m bundle {arguments} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 141) and done.stderr == ""


def test_interruption_from_the_keyboard_is_one_line():
    """The child listens, even where a job in the background was told not to."""
    code = CHATTY.format(line="print('ready', flush=True); time.sleep(60)").replace("logging, sys", "time")
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", heard + code], cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted; run the same command again to continue\n")


def test_demo_and_benchmark_are_passed_on(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("bundle.demo.run_demo", lambda output: calls.append(output))
    monkeypatch.setattr("bundle.benchmark.command.run", lambda options: calls.append(options))
    main(["demo", "--output", str(tmp_path)])
    main(["benchmark", "paper", "--dataset", "d", "--output", "o", "--docs", "p", "--full", "--device", "cpu"])
    main(["benchmark", "pages"])
    output, full, pages = calls
    assert output == tmp_path
    assert (full.name, full.dataset, full.output, full.docs) == ("paper", Path("d"), Path("o"), Path("p"))
    assert (full.full, full.device, full.ship) == (True, "cpu", False)
    assert (pages.name, pages.dataset, pages.docs) == ("pages", None, Path("docs"))


def test_errors_have_all_their_parts():
    error = BundleError("problem", case="a", stage="s", file="f", expected="e", found="g")
    assert str(error) == "[stage s, case a] problem\n  file: f\n  expected: e\n  found: g"


def test_predictions_of_a_dry_run_have_the_images_affine(folder, stages):
    main(oneshot(folder))
    prediction = nib.load(folder / "out" / "predictions" / "case_1.nii.gz")
    assert prediction.affine.tobytes() == nib.load(folder / "images" / "case_1.nii.gz").affine.tobytes()
