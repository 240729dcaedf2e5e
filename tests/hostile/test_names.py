"""Names of files, folders and classes that mean something to parsers work, or are refused before any work."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.command_line import main
from bundle.pipeline.inference import infer_folder
from scripts.common.errors import BundleError
from scripts.common.names import LONGEST_BYTES, is_case_name, is_class_name
from scripts.data.prepare_cohort import prepare_cohort
from scripts.networks.model_files import write_model
from scripts.networks.segmenter import segmentation_network
from tests.hostile.payload import NAMES
from tests.pipeline_fixtures import input_options, make_cohort, save, volume

CLASSES = {"Lesion #2": 7, "a::b @c": 3}
CARD = {
    **{"classes": CLASSES, "spacing_mm": [4.0] * 3, "patch_size": [16] * 3, "architecture": "unet"},
    **{"channels": [2, 4], "crop_to_body": False},
}
REFUSED = ("line\nbreak", "\x1b[31m", "bytes \udcff", "x" * (LONGEST_BYTES + 1), "made_of")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    write_model(tmp_path / "%model", segmentation_network("unet", 3, [2, 4]), CARD)
    return tmp_path / "%model"


def test_odd_names_of_volumes_folders_and_classes_go_through_inference(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        save(Path("@data") / f"{name}.nii.gz", volume(number))
    output = Path("$1#out")
    infer_folder(Path("@data"), model.relative_to(tmp_path), output)
    maps = {name: nib.load(output / f"{name}.nii.gz") for name in NAMES}
    assert all(set(np.unique(label.dataobj)) <= {0, 3, 7} for label in maps.values())
    times = {file: file.stat().st_mtime_ns for file in output.glob("*.nii.gz")}
    infer_folder(Path("@data"), model.relative_to(tmp_path), output)
    assert {file: file.stat().st_mtime_ns for file in output.glob("*.nii.gz")} == times, "done before"


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_other_names_of_volumes_are_refused_before_any_work(model, tmp_path, name):
    folder = make_cohort(tmp_path)
    save(folder / "images" / f"{name}.nii.gz", volume(9))
    for run in (
        lambda: infer_folder(folder / "images", model, folder / "out"),
        lambda: prepare_cohort(folder / "images", folder / "out", [4.0] * 3),
    ):
        with pytest.raises(BundleError, match="a volume of this name cannot be worked on; rename it") as caught:
            run()
        assert str(caught.value).isascii() and not (folder / "out").exists()


def test_which_names_a_case_may_have():
    assert all(map(is_case_name, ("a", "$x", "@x", "%x", "a#b", "a::b", "_target_", "a..b", "肝", "x" * LONGEST_BYTES)))
    assert not any(map(is_case_name, (*REFUSED, "", ".", "..", "a/b", "肝" * LONGEST_BYTES, None, 3)))


def test_which_names_a_class_may_have():
    assert all(map(is_class_name, ("spleen", "Lunge (links)", "lesion #2", "L2", "3rd rib", "肝", "a$b", "é")))
    assert not any(map(is_class_name, ("$x", "@x", "%x", "_target_", "+x", " x", "", "a\nb", "x" * 101, None, 3)))


@pytest.mark.parametrize("name", ["$x", "@x", "%x", "_target_", "+x"])
def test_a_class_name_that_parsers_take_for_something_else(tmp_path, capsys, name):
    folder = make_cohort(tmp_path)
    options = input_options(folder)
    options[options.index("--classes") + 1] = f"{name}:1,liver:6"
    for arguments in (options, options[: options.index("--classes")] + options[options.index("--classes") + 2 :]):
        (folder / "dataset.json").write_text(json.dumps({"labels": {"1": name, "6": "liver"}}), encoding="utf-8")
        with pytest.raises(SystemExit):
            main(["oneshot", *arguments, "--output", str(folder / "out")])
        assert "a class cannot have this name" in capsys.readouterr().err
        assert not (folder / "out" / "cohort.json").exists()


@pytest.mark.parametrize("option", ["--images", "--output", "--labels", "--classes", "--weights"])
@pytest.mark.parametrize("text", ["bytes \udcff", "line\nbreak"], ids=ascii)
def test_what_no_report_could_hold_is_refused(tmp_path, capsys, option, text):
    options = {option: text, "--output": str(tmp_path / "out")} | {option: text}
    inputs = ["--images", "i", "--support", "s", "--scribbles", "c"]
    with pytest.raises(SystemExit):
        main(["oneshot", *inputs, *(part for pair in options.items() for part in pair)])
    assert f"{option} cannot be worked with" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
