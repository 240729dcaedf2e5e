"""`infer` over a folder that holds more than good volumes."""

import logging

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.pipeline.inference import infer_folder
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.networks.model_files import write_model
from scripts.networks.segmenter import segmentation_network
from scripts.segmentation.label_map_writer import SaveLabelMaps
from tests.paths import ROOT
from tests.segmentation_fixtures import CLASSES, LAS, TINY, phantom

CARD = {key: TINY[key] for key in ("classes", "spacing_mm", "patch_size", "architecture", "channels", "crop_to_body")}


@pytest.fixture
def images(tmp_path):
    """A good volume, one like MR, one without its intercept, one cut short, a broken link, one in a nested folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    hu, _ = phantom(0)
    for name, array in {"good": hu, "mr": np.maximum(hu, 0), "raw": hu + 1024, "short": hu}.items():
        nib.save(nib.Nifti1Image(array, LAS), folder / f"{name}.nii.gz")
    content = (folder / "short.nii.gz").read_bytes()
    (folder / "short.nii.gz").write_bytes(content[: len(content) // 2])
    (folder / "gone.nii.gz").symlink_to(folder / "nowhere")
    (folder / "deep").mkdir()
    (folder / "deep" / "nested.nii.gz").write_bytes(content)
    return folder


def model(folder, bias):
    """A network that says the same of each voxel."""
    network = segmentation_network(TINY["architecture"], len(CLASSES) + 1, TINY["channels"], 0.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        list(network.parameters())[-1].copy_(torch.tensor(bias))
    write_model(folder, network, CARD)
    return folder


@pytest.mark.parametrize(
    ("bias", "sentence"), [([9.0, 0, 0], "the label map is empty"), ([0, 9.0, 0], "label 1 fills")]
)
def test_good_volumes_go_on_and_the_others_are_told_once_more_on_a_second_run(tmp_path, images, caplog, bias, sentence):
    output, network = tmp_path / "out", model(tmp_path / "model", bias)
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu")
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["good.nii.gz", "mr.nii.gz"]
    (warning,) = read_json(output / "good.json")["warnings"]
    assert warning.startswith(sentence)
    written = (output / "good.nii.gz").stat().st_mtime_ns
    first = caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu")
    assert (output / "good.nii.gz").stat().st_mtime_ns == written
    for text in (first, caplog.text):
        assert f"2 label maps in {output}; 3 volumes left out" in text
        assert "case gone]" in text and "case short]" in text and "water lies near 1024" in text
        assert "mr: the values are no Hounsfield units" in text and sentence in text
        assert text.count("nested.nii.gz: not used: volume in a nested folder") == 1
    assert set(read_json(output / "verdicts")["rejected"]) == {"gone", "raw", "short"}


def test_the_table_of_results_has_a_row_a_class_and_one_a_volume_left_out(tmp_path, images):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    table = infer_folder(images, network, output, "cpu")
    written = [(output / name).read_bytes() for name in ("results.json", "results.csv")]
    assert infer_folder(images, network, output, "cpu") == table
    assert [(output / name).read_bytes() for name in ("results.json", "results.csv")] == written
    content = read_json(output / "results.json")
    rows = {(row["case"], row["class"]): row for row in content["rows"]}
    first, second = CLASSES
    assert list(rows) == [*((case, name) for case in ("good", "mr") for name in CLASSES)] + [
        (case, None) for case in ("gone", "raw", "short")
    ]
    image = nib.load(images / "good.nii.gz")
    whole_ml = np.prod(image.shape) * np.prod(image.header.get_zooms()) / 1000
    assert (
        rows["good", first]["volume_ml"] == pytest.approx(whole_ml, abs=1e-3) and rows["good", second]["volume_ml"] == 0
    )
    assert (rows["good", first]["flagged"], rows["good", first]["predicted_dice"]) == (None, None)
    assert (rows["good", first]["source"], rows["good", first]["label_map"]) == (
        str(images / "good.nii.gz"),
        "good.nii.gz",
    )
    assert rows["mr", first]["remarks"][0].startswith("the values are no Hounsfield units")
    assert rows["gone", None]["verdict"] == "left out" and "1024" in rows["raw", None]["remarks"][0]
    assert content["weights_sha256"] == {"segmentation": sha256_of_file(network / "model.pt")}
    jsonschema.validate(content, read_json(ROOT / "docs" / "results.schema.json"))


def test_a_run_that_was_cut_short_goes_on_with_its_sentences(tmp_path, images, caplog, monkeypatch):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    save = SaveLabelMaps.save

    def fail_at_the_end(self, case, *about):
        save(self, case, *about)
        if case == "mr":
            raise KeyboardInterrupt

    monkeypatch.setattr(SaveLabelMaps, "save", fail_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        infer_folder(images, network, output, "cpu")
    monkeypatch.setattr(SaveLabelMaps, "save", save)
    assert (output / "mr.json").exists()
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu")
    assert "mr: the values are no Hounsfield units" in caplog.text


def test_a_folder_without_any_usable_volume_is_an_error(tmp_path, images):
    for name in ("good", "mr"):
        (images / f"{name}.nii.gz").unlink()
    with pytest.raises(BundleError, match="there is no volume to segment") as caught:
        infer_folder(images, model(tmp_path / "model", [9.0, 0, 0]), tmp_path / "out", "cpu")
    assert "case gone]" in caught.value.found and "water lies near 1024" in caught.value.found


def test_no_name_of_a_volume_meets_a_file_that_infer_keeps(tmp_path):
    hu, _ = phantom(0)
    (tmp_path / "images").mkdir()
    names = ["made_by", "results", "verdicts", "volumes"]
    for name in names:
        nib.save(nib.Nifti1Image(hu, LAS), tmp_path / "images" / f"{name}.nii.gz")
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    infer_folder(tmp_path / "images", network, output, "cpu")
    written = {name: (output / f"{name}.nii.gz").stat().st_mtime_ns for name in names}
    infer_folder(tmp_path / "images", network, output, "cpu")
    assert {name: (output / f"{name}.nii.gz").stat().st_mtime_ns for name in names} == written
