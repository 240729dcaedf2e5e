"""Every file that a run leaves, damaged in every way: made again, said, and nothing else changed."""

from __future__ import annotations

import logging
import shutil

import pytest
import SimpleITK as sitk

from bundle.pipeline.pipeline import Pipeline
from scripts.common.errors import BundleError
from scripts.common.made_of import content_of
from tests.damage import KINDS, damage
from tests.pipeline_fixtures import FakeStages, make_cohort, run_all, save, settings, volume

WORDS = ("again", "damaged", "had no record", "results are gone", "continuing from what is there")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two NIfTI volumes and one that is converted, and strokes that are."""
    folder = make_cohort(tmp_path_factory.mktemp("inputs"), 2)
    extra = save(folder / "extra.nii.gz", volume(2))
    for file, target in ((extra, "images/case_2.nrrd"), (folder / "scribbles.nii.gz", "scribbles.nrrd")):
        sitk.WriteImage(sitk.ReadImage(str(file)), str(folder / target))
    return folder


MADE_EVERY_TIME = (
    *("run.json", "cohort.json", "scribble_remarks.json", "scribbles/case_0.nii.gz"),
    *("predictions/made_by", "state.json", "progress.json"),
)


@pytest.fixture
def run(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.pipeline.runner.run_config", FakeStages())
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)  # slow, and there is nothing to collect

    def again(output):
        run_all(Pipeline(settings(inputs, output=output, scribbles=inputs / "scribbles.nrrd")))

    again(tmp_path / "whole")
    return again


def contents(folder):
    """What counts of every file: of a record what it says, of the log nothing."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    del files["state.json"], files["progress.json"]
    return {name: content_of(file) if file.suffix == ".json" else file.read_bytes() for name, file in files.items()}


def names(folder):
    return [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]


def test_the_run_leaves_every_kind_of_file(run, tmp_path):
    """Of mode `paper` without its report; those of mode `default` are damaged in `tests/end_to_end`."""
    assert {name.replace("case_1", "ID") for name in names(tmp_path / "whole") if not {"0", "2"} & set(name)} == {
        *("cohort.json", "run.json", "scribble_remarks.json", "state.json", "progress.json"),
        *("cache/ID/image.nii", "cache/ID/body.nii", "cache/ID/record.json"),
        *(f"prnet/{net}/{file}" for net in ("coarse", "fine") for file in ("made_of.json", "model.json", "model.pt")),
        *("first_round/propagation/ID.json", "propagation/ID.json", "pseudo_labels/ID.json"),
        *("segmentation/made_of.json", "segmentation/model.json", "segmentation/model.pt"),
        *("predictions/ID.json", "predictions/ID.nii.gz", "predictions/made_by"),
    }
    assert {"images/case_2.nii.gz", "scribbles/case_0.nii.gz"} < set(names(tmp_path / "whole"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_mended_and_that_is_said(run, tmp_path, caplog, kind):
    caplog.set_level(logging.INFO)
    output, expected = tmp_path / "out", None
    shutil.copytree(tmp_path / "whole", output)
    run(output)
    expected = contents(output)
    for name in names(output):
        damage(output / name, kind)
        caplog.clear()
        run(output)
        assert contents(output) == expected, name
        if name not in MADE_EVERY_TIME:
            assert any(word in caplog.text for word in WORDS), name


def test_a_folder_in_a_files_place_is_one_error_that_names_it(run, tmp_path):
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    run(tmp_path / "out")
    for name in names(tmp_path / "out"):
        file = tmp_path / "out" / name
        content = file.read_bytes()
        file.unlink()
        (file / "something").mkdir(parents=True)
        with pytest.raises(BundleError) as caught:
            run(tmp_path / "out")
        assert caught.value.file == str(file), name
        assert (file / "something").exists(), name
        shutil.rmtree(file)
        file.write_bytes(content)
        run(tmp_path / "out")
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()
