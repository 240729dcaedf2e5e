"""A command that is refused changes nothing: every file of its input and output is what it was, bytes and times."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bundle.command_line import main
from bundle.pipeline import pipeline
from tests.paths import ROOT
from tests.pipeline_fixtures import (
    FakeStages,
    input_options,
    make_cohort,
    make_weights,
    save,
    save_segments,
    strokes,
    volume,
)
from tests.test_folder_lock import HOLD


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cohort, a run of it in `out` (mode paper) and another in `masks` (mode default), and things to refuse."""
    make_cohort(tmp_path)
    monkeypatch.setattr("bundle.pipeline.runner.run_config", FakeStages())
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)  # slow, and there is nothing to collect
    monkeypatch.setattr(pipeline, "write_report", lambda output, labels: output / "report" / "index.html")
    main(["oneshot", *input_options(tmp_path), "--small", "--output", str(tmp_path / "out")])
    main(["support-mask", *default_options(tmp_path), "--output", str(tmp_path / "masks")])
    save(tmp_path / "other_strokes.nii.gz", strokes((6, 1, 14, 3)))
    in_air = strokes()
    in_air[in_air == 1] = 0
    in_air[0, :3, 5] = 1
    save(tmp_path / "strokes_in_air.nii.gz", in_air)
    save(tmp_path / "empty.nii.gz", np.zeros_like(strokes()))
    save(tmp_path / "other_grid.nii.gz", strokes()[:-1])
    save(tmp_path / "accepted" / "nobody.nii.gz", strokes())
    save_segments(tmp_path / "segments" / "case_1.seg.nrrd", strokes(), {"Leber": 1, "Milz": 6})
    save(tmp_path / "results" / "case_1.nii.gz", strokes())
    (tmp_path / "results" / "report").mkdir()
    (tmp_path / "a_file").write_text("the user's")
    make_weights(tmp_path / "weights", fine={"spacing_mm": [3.0] * 3})
    make_weights(tmp_path / "damaged_weights")
    (tmp_path / "damaged_weights" / "fine" / "model.pt").write_bytes(b"damaged")
    shutil.copytree(tmp_path / "out", tmp_path / "damaged")
    (tmp_path / "damaged" / "run.json").write_text("{")
    return tmp_path


def default_options(folder):
    return [*input_options(folder), "--mode", "default", "--small"]


def content(folder):
    """Path -> bytes and time of the last change, of files; None of folders."""
    paths = [path for path in folder.rglob("*") if "out/report" not in str(path)]
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in paths
    }


def refused(folder, capsys, *arguments):
    before = content(folder)
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert left.value.code == 2 and message.startswith("error: ") and "Traceback" not in message
    assert content(folder) == before
    return message


ONESHOT = {
    "unknown config key 'nonsense'": ["--set", "segmentation.nonsense=1"],
    "mode paper has no such stage": ["--set", "embedding.max_epochs=1"],
    "cannot have this value": ["--set", "segmentation.max_epochs=many"],
    "cannot read --set": ["--set", "max_epochs"],
    "both PRNets need one spacing": ["--set", "prnet_fine.spacing_mm=[5, 5, 5]"],
    "the images folder is missing": ["--images", "nowhere"],
    "the support is missing": ["--support", "nowhere.nii.gz"],
    "the volume is missing": ["--scribbles", "nowhere.nii.gz"],
    "the scribbles are not on the support's grid": ["--scribbles", "other_grid.nii.gz"],
    "cannot read the classes": ["--classes", "spleen"],
    "kidney": ["--classes", "kidney:9"],
    "trained with another spacing_mm": ["--weights", "weights"],
    "do not load": ["--weights", "damaged_weights"],
    "no weights for mode paper": ["--weights", "nowhere"],
    "this device cannot be used": ["--device", "gpu"],
    "the labels folder is missing": ["--labels", "nowhere"],
    "--support-mask is of no use in mode paper": ["--support-mask", "empty.nii.gz"],
    "--accepted is of no use in mode paper": ["--accepted", "accepted"],
    "--bounded-labels is of no use in mode default": ["--bounded-labels", "--mode", "default"],
    "--no-bounded-labels is of no use in mode default": ["--no-bounded-labels", "--mode", "default"],
    "--all-pairs is of no use in mode default": ["--all-pairs", "--mode", "default"],
    "too few good volumes": ["--images", "results"],
    "take them for volumes": ["--images", "out/predictions"],
}


@pytest.mark.parametrize("message", ONESHOT)
@pytest.mark.parametrize("command", ["oneshot", "train"])
def test_a_run_that_cannot_be(folder, capsys, message, command):
    """With other strokes at the same time: what is refused must not be half taken over."""
    options = [*input_options(folder), "--small", "--scribbles", folder / "other_strokes.nii.gz"]
    more = [folder / part if (folder / part).exists() or "nowhere" in part else part for part in ONESHOT[message]]
    if message == "too few good volumes":
        more += ["--support", folder / "results" / "case_1.nii.gz"]
    assert message in refused(folder, capsys, command, *options, *more, "--output", folder / "out")
    if message != "take them for volumes":
        assert message in refused(folder, capsys, command, *options, *more, "--output", folder / "new")


UNFIT = {
    "the strokes of spleen lie outside the body": ["--scribbles", "strokes_in_air.nii.gz"],
    "the number of validation cases does not fit": ["--set", "prnet_coarse.validation_count=7"],
}


@pytest.mark.parametrize("message", UNFIT)
def test_what_does_not_fit_the_cohort(folder, capsys, message):
    option, value = UNFIT[message]
    options = [*input_options(folder), "--small", "--scribbles", folder / "other_strokes.nii.gz", option]
    value = folder / value if option == "--scribbles" else value
    assert message in refused(folder, capsys, "oneshot", *options, value, "--output", folder / "out")


MASKS = {
    "the support mask lacks a class": ["--support-mask", "empty.nii.gz"],
    "strokes of spleen within liver; strokes of liver within spleen": ["--support-mask", "scribbles.nii.gz"],
    "the support mask's voxels are not on the support's grid": ["--support-mask", "other_grid.nii.gz"],
    "the volume is missing": ["--support-mask", "nowhere.nii.gz"],
    "[stage settings, case case_0] no segment is called like a class": ["--support-mask", "segments/case_1.seg.nrrd"],
    "[stage settings, case case_1] no segment is called like a class": ["--accepted", "segments"],
    "an accepted label map belongs to no case": ["--accepted", "accepted"],
    "the folder of accepted label maps is missing": ["--accepted", "nowhere"],
}


@pytest.mark.parametrize("message", MASKS)
def test_corrected_label_maps_that_do_not_fit(folder, capsys, message):
    option, name = MASKS[message]
    options = [*default_options(folder), "--scribbles", folder / "other_strokes.nii.gz", option, folder / name]
    assert message in refused(folder, capsys, "oneshot", *options, "--output", folder / "masks")


def test_output_folders_that_would_be_spoilt(folder, capsys):
    options = ["oneshot", *input_options(folder), "--small"]
    said = refused(folder, capsys, *options, "--output", folder / "images")
    assert "the next run would take them for volumes" in said
    assert "something of somebody else's" in refused(folder, capsys, *options, "--output", folder / "results")
    assert "the output folder cannot be written" in refused(folder, capsys, *options, "--output", folder / "a_file")
    assert "the output folder cannot be written" in refused(folder, capsys, *options, "--output", folder / "a_file/x")


def test_settings_that_are_damaged_and_folders_that_are_no_run(folder, capsys):
    said = refused(folder, capsys, "train", "--output", folder / "damaged")
    assert "delete the file and name the input again" in said
    assert "nothing was run in this output folder yet" in refused(folder, capsys, "train", "--output", folder / "new")
    assert "the work directory is missing" in refused(folder, capsys, "report", "--output", folder / "new")
    said = refused(folder, capsys, "report", "--output", folder / "results")
    assert "something of somebody else's" in said, "a folder `report` of the user's own"
    labels = ["--labels", folder / "nowhere"]
    assert "folder is missing" in refused(folder, capsys, "report", "--output", folder / "out", *labels)
    assert "needs a dataset" in refused(folder, capsys, "benchmark", "paper", "--output", folder / "out")


def test_label_maps_among_images_or_over_the_users_own(folder, capsys):
    infer = ["infer", "--images", folder / "images", "--model", folder / "out" / "segmentation", "--output"]
    said = refused(folder, capsys, *infer, folder / "images")
    assert "the next run would take them for volumes" in said
    assert "did not make" in refused(folder, capsys, *infer, folder / "results")
    assert "no segmentation weights here" in refused(
        folder, capsys, *[folder / "weights" if part == infer[4] else part for part in infer], folder / "new"
    )


def commands(folder):
    """Every command that writes to a folder, on the finished run's."""
    out = ["--output", folder / "out"]
    strokes_too = [*input_options(folder), "--small", "--scribbles", folder / "other_strokes.nii.gz", *out]
    images = ["--images", folder / "images"]
    return {
        "oneshot": strokes_too,
        "propagate": [*strokes_too, "--weights", folder / "weights"],
        "train": out,
        "support-mask": strokes_too,
        "report": out,
        "infer": [*images, "--model", folder / "out" / "segmentation", *out],
        "package": ["--name", "a_segmentation", *out],
        "demo": out,
        "benchmark": ["paper", "--dataset", folder, *out],
    }


def test_every_command_on_a_folder_in_use(folder, capsys):
    save(folder / "images" / "case_3.nii.gz", volume(3))
    (folder / "dataset.json").write_text(json.dumps({"labels": {}, "paper_classes": []}))
    hold = [sys.executable, "-c", HOLD, str(folder / "out")]
    with subprocess.Popen(hold, cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        for command, options in commands(folder).items():
            message = refused(folder, capsys, command, *options)
            assert "another command works in this folder" in message, command
            assert f"process {other.pid} on " in message
        other.kill()
    assert "oneshot" in commands(folder)
    main([str(part) for part in ("oneshot", *commands(folder)["oneshot"])])
