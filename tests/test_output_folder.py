"""Output folders that a command would spoil, or whose results it would read as volumes."""

from pathlib import Path

import pytest

from bundle.output_folder import refuse_foreign, refuse_run
from scripts.common.errors import BundleError
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder


@pytest.mark.parametrize("name", ["predictions", "report", "images", "segmentation/model.pt"])
def test_a_folder_of_somebody_elses_is_refused_where_names_meet(tmp_path, name):
    (tmp_path / "notes.txt").touch()
    refuse_foreign(WorkFolder(tmp_path))
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(BundleError, match="something of somebody else's") as caught:
        refuse_foreign(WorkFolder(tmp_path))
    assert caught.value.file == str(tmp_path / name.split("/")[0])


@pytest.mark.parametrize("mark", ["cohort.json", "run.json", "state.json", "cache/a/body.nii", "cache/a_body.nii"])
def test_a_folder_with_a_mark_of_ours_is_ours(tmp_path, mark):
    (tmp_path / "predictions").mkdir()
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    refuse_foreign(WorkFolder(tmp_path))


@pytest.mark.parametrize("mark", ["cohort.json", "run.json"])
def test_a_runs_folder_is_refused_where_another_command_would_replace_its_files(tmp_path, mark):
    refuse_run(tmp_path, "inference")
    (tmp_path / mark).write_text("{}")
    with pytest.raises(BundleError, match="the output folder is that of a run") as caught:
        refuse_run(tmp_path, "inference")
    assert (caught.value.stage, caught.value.file, caught.value.found) == ("inference", str(tmp_path), mark)


@pytest.mark.parametrize("case", ["cohort", "run"])
def test_the_record_of_a_case_that_is_called_so_is_no_run(tmp_path, case):
    write_record(tmp_path / f"{case}.json", {"case": case}, "", [])
    refuse_run(tmp_path, "inference")


def test_names_of_a_work_folder():
    names = WorkFolder(Path("/work")).names()
    assert {"cache", "cohort.json", "first_round", "on_support", "predictions", "report", "scribbles"} <= set(names)
