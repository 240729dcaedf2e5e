"""`python -m bundle suggest`, with an untrained network: what it prints and leaves, and what it refuses."""

import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from bundle.arguments import command_parser
from bundle.command_line import main
from bundle.suggest.command import next_step
from bundle.suggest.suggestion import RankedVolume, read_suggestion, text_table
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_nifti
from scripts.common.work_folder import WorkFolder
from tests.embedding_fixtures import write_embedding
from tests.prnet_fixtures import LAS, phantom


@pytest.fixture
def folder(tmp_path):
    """`images/` with three bodies that are nearly equal and one label map, `weights/embedding`."""
    for number, case in enumerate("abc"):
        hu = phantom(0)
        hu[12, 12, number] += 1
        write_nifti(tmp_path / "images" / f"{case}.nii.gz", hu, LAS)
    write_nifti(tmp_path / "images" / "drawn.nii.gz", np.ones((24, 24, 24), np.uint8), LAS)
    write_embedding(tmp_path / "weights" / "embedding")
    return tmp_path


def options(folder, *more):
    places = {"--images": "images", "--weights": "weights", "--output": "out"}
    return ["suggest", *(part for name, place in places.items() for part in (name, str(folder / place))), *more]


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and message.startswith("error: ") and "Traceback" not in message
    return message


def test_volumes_are_proposed_shown_and_the_next_command_named(folder, capsys, caplog):
    main(options(folder, "--count", "2", "--device", "cpu"))
    said, work = capsys.readouterr().out, WorkFolder(folder / "out")
    ranking = read_suggestion(work.suggestion_record)
    assert [one.proposed for one in ranking] == [True, True, False] and all(one.shows_field for one in ranking)
    assert text_table(ranking) in said and f"pictures: {work.suggestion.page}" in said
    assert "drawn" in caplog.text and "left out" in caplog.text

    command = shlex.split(said.splitlines()[-1])
    assert command[:3] == ["python", "-m", "bundle"]
    parsed = command_parser().parse_args(command[3:])
    assert parsed.support == folder / "images" / f"{ranking[0].case}.nii.gz"
    assert (parsed.weights, parsed.output) == (str(folder / "weights"), folder / "out")

    assert (parsed.small, parsed.device, parsed.classes) == (True, "cpu", "ORGAN_1:1,ORGAN_2:2")

    page = work.suggestion.page.read_text(encoding="utf-8")
    assert "--device cpu" in page and "--small" in page
    assert page.count('class="tile"') == 2 * 3 and len(re.findall("<h3>", page)) == 2
    assert "Left out: drawn" in page and "http" not in page.replace("http://www.w3.org", "")
    assert not work.settings.exists(), "nothing was asked for that a later command should take over"

    main(options(folder, "--count", "1"), program="oneshot-ct")
    assert read_json(work.suggestion_record)["proposed"] == [ranking[0].case]
    assert shlex.split(capsys.readouterr().out.splitlines()[-1])[:2] == ["oneshot-ct", "oneshot"], "as it was called"
    assert read_json(work.progress)["state"] == "finished"


def test_pictures_show_the_middle_of_a_body_that_lies_at_one_side(folder, monkeypatch):
    views = []
    monkeypatch.setattr("bundle.suggest.page.three_planes", lambda image, view, pixels: views.append(view) or "")
    for case in "abc":
        hu = np.pad(phantom(0), ((0, 0), (0, 24), (0, 0)), constant_values=-1000)
        hu[12, 12, "abc".index(case)] += 1
        write_nifti(folder / "images" / f"{case}.nii.gz", hu, LAS)
    main(options(folder, "--count", "1"))
    assert [abs(view.slices[1] - 11.5) <= 1 for view in views] == [True], "of 48 rows the body has the first 24"


@pytest.mark.parametrize(("gpu", "device", "small"), [(False, None, True), (True, None, False), (True, "cpu", True)])
def test_the_next_command_is_the_small_one_where_no_gpu_is_used(folder, monkeypatch, gpu, device, small):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    cohort = SimpleNamespace(cases={"a": SimpleNamespace(source=folder / "images" / "a.nii.gz")})
    asked = command_parser().parse_args(options(folder, *(["--device", device] if device else [])))
    assert ("--small" in shlex.split(next_step(cohort, "a", asked))) == small


@pytest.mark.parametrize(("content", "named"), [('{"labels": {"1": "liver"}}', True), ("{", True), ("{}", False)])
def test_the_next_command_names_classes_unless_a_file_beside_the_images_does(folder, content, named):
    (folder / "dataset.json").write_text(content)
    cohort = SimpleNamespace(cases={"a": SimpleNamespace(source=folder / "images" / "a.nii.gz")})
    assert ("--classes" not in next_step(cohort, "a", command_parser().parse_args(options(folder)))) == named


def test_it_is_finished_only_with_its_page(folder, monkeypatch):
    progress = WorkFolder(folder / "out").progress

    def disk_is_full(*_):
        assert read_json(progress)["state"] == "running"
        raise BundleError("no space", stage="suggest")

    monkeypatch.setattr("bundle.suggest.command.write_page", disk_is_full)
    with pytest.raises(SystemExit):
        main(options(folder))
    assert read_json(progress)["state"] == "stopped"


def test_without_weights_the_choices_are_named(folder, capsys):
    message = refused(capsys, "suggest", "--images", folder / "images", "--output", folder / "out")
    assert "no weights for mode default of that name or in that folder" in message
    assert "abdomen_ct, abdomen_mr, headneck_ct" in message and not (folder / "out").exists()


def test_weights_in_the_output_folder_are_taken(folder):
    write_embedding(folder / "out" / "embedding")
    main(["suggest", "--images", str(folder / "images"), "--output", str(folder / "out")])
    assert WorkFolder(folder / "out").suggestion_record.is_file()


@pytest.mark.parametrize("count", ["0", "-1"])
def test_a_count_below_one_is_refused(folder, capsys, count):
    assert "expected: --count of 1 or more" in refused(capsys, *options(folder, "--count", count))


def test_two_volumes_are_too_few(folder, capsys):
    (folder / "images" / "c.nii.gz").unlink()
    message = refused(capsys, *options(folder))
    assert "too few good volumes" in message and "expected: at least 3" in message


def test_results_among_the_images_are_refused(folder, capsys):
    message = refused(capsys, *options(folder), "--output", folder / "images")
    assert "the results would lie among the images" in message


def test_a_table_says_why_a_volume_is_not_proposed():
    ranking = [
        RankedVolume("central", 0.5, 1.0, proposed=True, shows_field=True),
        RankedVolume("odd", 0.25, 0.95, proposed=False, shows_field=True),
        RankedVolume("short", 0.75, 0.5, proposed=False, shows_field=False),
    ]
    assert text_table(ranking).splitlines() == [
        "   volume   like the others  field shown",
        "1  central  0.500            100%         proposed",
        "2  odd      0.250            95%          less like the others",
        "3  short    0.750            50%          shows too little of the field that most volumes show",
    ]
