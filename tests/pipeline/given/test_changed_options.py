"""What a run says of the options of the run before in its folder."""

import logging
from dataclasses import replace

import pytest

from bundle.arguments import MODELS, command_parser
from bundle.pipeline.given.changed_options import changed_options
from bundle.pipeline.given.run_options import run_settings
from bundle.pipeline.settings import save_settings, saved_settings
from tests.pipeline_fixtures import input_options, make_cohort, settings

WEIGHTS = MODELS / "abdomen_ct"


@pytest.fixture
def before(tmp_path):
    """Settings of a run that left its `run.json` in `out`."""
    make_cohort(tmp_path)
    (tmp_path / "out").mkdir()
    run = settings(tmp_path, mode="default", weights=WEIGHTS, overrides={"segmentation": {"max_epochs": 20}})
    save_settings(run)
    return run


def changed(before, **changes):
    return changed_options(saved_settings(before.output), replace(before, **changes))


def test_nothing_is_said_of_the_same_options_however_they_are_written(before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = before.images.relative_to(tmp_path)
    assert changed(before) == changed(before, classes="spleen:1, liver:6", images=relative, device="cpu") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": None}, "--weights: abdomen_ct -> not given"),
        ({"weights": MODELS / "headneck_ct" / "full"}, "--weights: abdomen_ct -> headneck_ct"),
        ({"small": False}, "--small: yes -> no"),
        ({"mode": "paper"}, "--mode: default -> paper"),
        ({"classes": {"liver": 6}}, "--classes: spleen:1,liver:6 -> liver:6"),
        ({"background": None}, "--background: 14 -> not given"),
        ({"bounded_labels": True}, "--bounded-labels: not given -> yes"),
        ({"accepted": ("case_1", "case_2")}, "--accepted: not given -> case_1, case_2"),
        ({"accepted": ("case",) * 100}, f"--accepted: not given -> {'case, ' * 25}..."),
        ({"overrides": {}}, "--set segmentation.max_epochs: 20 -> not given"),
        ({"overrides": {"segmentation": {"max_epochs": 5}}}, "--set segmentation.max_epochs: 20 -> 5"),
    ],
)
def test_a_changed_option_is_named_with_its_old_and_new_value(before, changes, said):
    assert changed(before, **changes) == [said]


def test_files_are_named_by_their_paths(before, tmp_path):
    said = changed(before, support=tmp_path / "other.nii.gz", scribbles=tmp_path / "drawn.nii.gz")
    assert said == [
        f"--support: {before.support} -> {tmp_path / 'other.nii.gz'}",
        f"--scribbles: {before.scribbles} -> {tmp_path / 'drawn.nii.gz'}",
    ]


def test_networks_trained_in_the_folder_are_none_that_were_given(before):
    trained = replace(before, weights=None)
    save_settings(trained)
    assert changed(trained, weights=before.output) == []


def options(tmp_path, *more):
    return command_parser().parse_args(
        [
            *("oneshot", *input_options(tmp_path), "--mode", "default", "--output", str(tmp_path / "out")),
            *("--small", "--set", "segmentation.max_epochs=20", *more),
        ]
    )


def test_forgotten_weights_are_told_in_one_line_and_the_same_options_not_at_all(before, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run_settings(options(tmp_path, "--weights", "abdomen_ct"))
    assert caplog.messages == []
    run_settings(options(tmp_path))
    (said,) = caplog.messages
    assert "had other options: --weights: abdomen_ct -> not given. What depends on them is made again" in said
    assert said.endswith("; without --weights networks are trained here")


def test_a_damaged_file_of_the_run_before_stops_no_run_that_names_its_input(before, tmp_path, caplog):
    (tmp_path / "out" / "run.json").write_text("{")
    assert run_settings(options(tmp_path)).small and caplog.messages == []
