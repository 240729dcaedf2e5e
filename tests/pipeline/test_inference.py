"""`infer` over a folder that holds more than good volumes."""

import logging
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.pipeline import inference
from bundle.pipeline.configs import run_config
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.run_of_network import settings_of_run
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder
from scripts.data.gate.hand_over import _Held
from scripts.data.probability_maps import read_probabilities, write_probabilities
from scripts.data.records import PointSet, PropagationRecord
from scripts.label_propagation.prediction import background_alone
from scripts.networks.model_files import write_model
from scripts.networks.segmenter import segmentation_network
from scripts.segmentation.label_map_writer import SaveLabelMaps
from tests.paths import ROOT
from tests.prnet_fixtures import make_cohort
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


def test_names_that_the_output_disk_cannot_tell_apart_are_refused_before_anything_is_labelled(tmp_path, monkeypatch):
    hu, _ = phantom(0)
    (tmp_path / "images").mkdir()
    for name in ("a", "A"):
        nib.save(nib.Nifti1Image(hu, LAS), tmp_path / "images" / f"{name}.nii.gz")
    network, exists = model(tmp_path / "model", [0, 9.0, 0]), Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.swapcase())))
    with pytest.raises(BundleError, match="cannot tell two volumes' names apart"):
        infer_folder(tmp_path / "images", network, tmp_path / "out", "cpu")
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("bias", "sentence"), [([9.0, 0, 0], "the label map is empty"), ([0, 9.0, 0], "spleen is larger")]
)
def test_good_volumes_go_on_and_the_others_are_told_once_more_on_a_second_run(tmp_path, images, caplog, bias, sentence):
    output, network = tmp_path / "out", model(tmp_path / "model", bias)
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu", modality="ct")
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["good.nii.gz", "mr.nii.gz"]
    (warning,) = read_json(output / "good.json")["warnings"]
    assert warning.startswith(sentence)
    written = (output / "good.nii.gz").stat().st_mtime_ns
    first = caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu", modality="ct")
    assert (output / "good.nii.gz").stat().st_mtime_ns == written
    for text in (first, caplog.text):
        assert f"2 label maps in {output}; 3 volumes left out" in text
        assert "case gone]" in text and "case short]" in text and "water lies near 1024" in text
        assert "mr: the values are no Hounsfield units" in text and sentence in text
        assert text.count("nested.nii.gz: not used: volume in a nested folder") == 1
    assert set(read_json(output / "verdicts")["rejected"]) == {"gone", "raw", "short"}


def test_the_table_of_results_has_a_row_a_class_and_one_a_volume_left_out(tmp_path, images):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    table = infer_folder(images, network, output, "cpu", modality="ct")
    written = [(output / name).read_bytes() for name in ("results.json", "results.csv")]
    assert infer_folder(images, network, output, "cpu", modality="ct") == table
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
    assert rows["gone", None]["admission"] == "left out" and "1024" in rows["raw", None]["remarks"][0]
    assert content["weights_sha256"] == {"segmentation": sha256_of_file(network / "model.pt")}
    jsonschema.validate(content, read_json(ROOT / "docs" / "results.schema.json"))


def test_what_the_run_set_for_its_label_maps_goes_with_its_network(tmp_path, images, caplog):
    work = WorkFolder(tmp_path / "run")
    model(work.segmentation, [0, 9.0, 0])
    assert settings_of_run(work.segmentation) == {}
    values = {"keep_largest": False, "overlap": 0.25, "patch_size": [16] * 3, "sw_batch_size": "$1 + 1"}
    write_json(work.settings, {"mode": "default", "overrides": {"inference": values}})
    assert settings_of_run(work.segmentation) == {"keep_largest": False, "inferer#overlap": 0.25}
    assert f"inference.inferer#sw_batch_size: an expression is not taken from {work.settings}" in caplog.text
    told = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inference, "run_config", lambda names, overrides: told.append(overrides))
        infer_folder(images, work.segmentation, tmp_path / "out", "cpu", modality="ct")
    assert (told[0]["keep_largest"], told[0]["patch_size"]) == (False, TINY["patch_size"])
    elsewhere = model(tmp_path / "elsewhere" / "segmentation", [0, 9.0, 0])
    assert settings_of_run(elsewhere) == {}


def test_progress_says_how_many_volumes_are_labelled(tmp_path, images):
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    infer_folder(images, network, output, "cpu", modality="ct")
    content = read_json(output / "progress.json")
    jsonschema.validate(content, read_json(ROOT / "docs" / "progress.schema.json"))
    told = [(stage["name"], stage["state"], stage["done"], stage["total"]) for stage in content["stages"]]
    assert (content["state"], told) == ("finished", [("inference", "done", 2, 2)])


def test_progress_counts_the_volumes_that_an_earlier_run_labelled(tmp_path, images):
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    infer_folder(images, network, output, "cpu", modality="ct")
    (output / "good.nii.gz").unlink()
    infer_folder(images, network, output, "cpu", modality="ct")
    (stage,) = read_json(output / "progress.json")["stages"]
    assert (stage["done"], stage["total"]) == (2, 2)


def test_a_run_is_not_finished_before_its_table_is_written(tmp_path, images, monkeypatch):
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])

    def disk_is_full(*_):
        assert read_json(output / "progress.json")["state"] == "running"
        raise BundleError("no space", stage="results")

    monkeypatch.setattr("bundle.pipeline.inference.TableFiles.write", disk_is_full)
    with pytest.raises(BundleError, match="no space"):
        infer_folder(images, network, output, "cpu", modality="ct")
    assert read_json(output / "progress.json")["state"] == "stopped"


def test_a_file_of_somebody_elses_is_not_taken_for_progress(tmp_path, images):
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    output.mkdir()
    (output / "progress.json").write_text("mine", encoding="utf-8")
    with pytest.raises(BundleError, match="somebody else's has the name of the progress"):
        infer_folder(images, network, output, "cpu", modality="ct")
    assert [file.name for file in output.iterdir()] == ["progress.json"]


def test_a_run_that_was_cut_short_goes_on_with_its_sentences(tmp_path, images, caplog, monkeypatch):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    save = SaveLabelMaps.save

    def fail_at_the_end(self, case, *about):
        save(self, case, *about)
        if case == "mr":
            raise KeyboardInterrupt

    monkeypatch.setattr(SaveLabelMaps, "save", fail_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        infer_folder(images, network, output, "cpu", modality="ct")
    monkeypatch.setattr(SaveLabelMaps, "save", save)
    assert (output / "mr.json").exists()
    with caplog.at_level(logging.INFO):
        infer_folder(images, network, output, "cpu", modality="ct")
    assert "mr: the values are no Hounsfield units" in caplog.text


def test_mr_among_ct_is_left_out_unless_the_user_says_ct(tmp_path, images, caplog):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    infer_folder(images, network, output, "cpu")
    assert [file.name for file in output.glob("*.nii.gz")] == ["good.nii.gz"]
    assert "case mr] this is MR or PET by its header or its values" in caplog.text
    with pytest.raises(BundleError, match="were trained on CT, and the volumes are MR"):
        infer_folder(images, network, tmp_path / "other", "cpu", modality="mr")


def test_a_network_of_mr_reads_mr_in_standard_units(tmp_path, images):
    """Those of the folder without values far below 0."""
    network = model(tmp_path / "model", [0, 9.0, 0])
    write_json(network / "model.json", read_json(network / "model.json") | {"modality": "mr", "bias_correction": False})
    infer_folder(images, network, tmp_path / "out", "cpu")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz")) == ["mr.nii.gz", "raw.nii.gz"]


def test_a_folder_without_any_usable_volume_is_an_error(tmp_path, images):
    for name in ("good", "mr"):
        (images / f"{name}.nii.gz").unlink()
    with pytest.raises(BundleError, match="there is no volume to segment") as caught:
        infer_folder(images, model(tmp_path / "model", [9.0, 0, 0]), tmp_path / "out", "cpu")
    assert "case gone]" in caught.value.found and "water lies near 1024" in caught.value.found


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_no_label_map_stays_of_a_volume_that_cannot_be_read_any_more(tmp_path, images, how):
    output, network = tmp_path / "out", model(tmp_path / "model", [0, 9.0, 0])
    infer_folder(images, network, output, "cpu", keep_probabilities=True, modality="ct")
    volume = images / "mr.nii.gz"
    content = volume.read_bytes()
    volume.unlink()
    if how == "gone":
        volume.symlink_to(images / "nowhere")
    else:
        volume.write_bytes(content[: len(content) // 2])
    infer_folder(images, network, output, "cpu", keep_probabilities=True, modality="ct")
    assert "mr" in read_json(output / "verdicts")["rejected"]
    assert [file.name for file in output.rglob("*.nii.gz")] == ["good.nii.gz", "good_probabilities.nii.gz"]
    assert not (output / "mr.json").exists()


def test_no_name_of_a_volume_meets_a_file_that_infer_keeps(tmp_path):
    hu, _ = phantom(0)
    (tmp_path / "images").mkdir()
    names = ["made_by", "progress", "results", "verdicts", "volumes"]
    for name in names:
        nib.save(nib.Nifti1Image(hu, LAS), tmp_path / "images" / f"{name}.nii.gz")
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    infer_folder(tmp_path / "images", network, output, "cpu")
    written = {name: (output / f"{name}.nii.gz").stat().st_mtime_ns for name in names}
    infer_folder(tmp_path / "images", network, output, "cpu")
    assert {name: (output / f"{name}.nii.gz").stat().st_mtime_ns for name in names} == written


def test_probabilities_are_kept_and_joined_as_the_configs_say(tmp_path):
    cohort = make_cohort(tmp_path, count=2)
    work = WorkFolder(cohort.output_dir)
    network = model(tmp_path / "model", [0, 9.0, 0])
    infer_folder(tmp_path / "images", network, work.network.path, "cpu", keep_probabilities=True)
    own, affine = read_probabilities(work.network.own.probabilities("case_1"))
    assert own.shape[0] == len(cohort.classes) + 1 and own[1].min() > 0.99
    written = work.network.own.record("case_1").stat().st_mtime_ns
    infer_folder(tmp_path / "images", network, work.network.path, "cpu", keep_probabilities=True)
    assert work.network.own.record("case_1").stat().st_mtime_ns == written
    record = PropagationRecord("case_1", "case_0", {}, (4.0, 4.0, 4.0), cohort.classes, PointSet.empty(), 0.9)
    nothing = background_alone(len(cohort.classes), own.shape[1:])
    write_probabilities(work.propagation.probabilities("case_1"), nothing, affine)
    write_record(work.propagation.record("case_1"), record.to_json(), "", [work.propagation.probabilities("case_1")])
    run_config(["ensemble.json"], {"output_dir": str(cohort.output_dir), "case_ids": ["case_1"]})
    joined, _ = read_probabilities(work.network.joined.probabilities("case_1"))
    assert np.array_equal(joined, nothing), "nobody checked its pseudo label, so the network has no weight"


@pytest.mark.parametrize("mark", ["cohort.json", "run.json"])
def test_the_output_folder_of_a_run_stays_as_it_is(tmp_path, images, mark):
    output, network = tmp_path / "out", model(tmp_path / "model", [9.0, 0, 0])
    output.mkdir()
    (output / mark).write_text("{}")
    with pytest.raises(BundleError, match="the output folder is that of a run"):
        infer_folder(images, network, output, "cpu")
    assert [file.name for file in output.iterdir()] == [mark]


def of_two_days(tmp_path):
    """Folders of a volume each: "early", of which there is something to remark, and "late"."""
    hu, _ = phantom(0)
    for name, array in {"early": np.maximum(hu, 0), "late": hu}.items():
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(array, LAS), tmp_path / name / f"{name}.nii.gz")
    return tmp_path / "early", tmp_path / "late", tmp_path / "labels"


def test_rows_of_an_earlier_folder_stay_while_their_label_maps_do(tmp_path, caplog):
    (early, late, output), network = of_two_days(tmp_path), model(tmp_path / "model", [0, 9.0, 0])
    first = infer_folder(early, network, output, "cpu", modality="ct")
    both = infer_folder(late, network, output, "cpu", modality="ct")
    assert both.rows[: len(first.rows)] == first.rows and {row.case for row in both.rows} == {"early", "late"}
    assert read_json(output / "results.json") == both.to_json()
    verdicts = read_json(output / "verdicts")
    assert (list(verdicts["warnings"]), sorted(verdicts["images"])) == (["early"], ["early", "late"])
    assert infer_folder(late, network, output, "cpu", modality="ct") == both
    assert "have no rows any more" not in caplog.text
    (output / "early.nii.gz").unlink()
    assert {row.case for row in infer_folder(late, network, output, "cpu", modality="ct").rows} == {"late"}
    assert list(read_json(output / "verdicts")["images"]) == ["late"]


def test_label_maps_of_a_folder_that_was_cut_short_before_its_table_get_their_rows_later(tmp_path):
    (early, late, output), network = of_two_days(tmp_path), model(tmp_path / "model", [0, 9.0, 0])
    infer_folder(early, network, output, "cpu", modality="ct")
    for name in ("results.json", "results.csv"):
        (output / name).unlink()
    table = infer_folder(late, network, output, "cpu", modality="ct")
    assert {(row.case, row.source) for row in table.rows} == {
        (folder.name, str(folder / f"{folder.name}.nii.gz")) for folder in (early, late)
    }


def test_label_maps_of_another_network_are_named_once_when_they_leave_the_table(tmp_path, caplog):
    (early, late, output), network = of_two_days(tmp_path), model(tmp_path / "model", [0, 9.0, 0])
    infer_folder(early, network, output, "cpu", modality="ct")
    for _ in range(2):
        table = infer_folder(late, model(tmp_path / "other", [0, 0, 9.0]), output, "cpu", modality="ct")
        assert {row.case for row in table.rows} == {"late"} and (output / "early.nii.gz").exists()
    (told,) = [message for message in caplog.messages if "have no rows any more" in message]
    assert told.startswith("early: ")


def test_the_network_is_given_what_the_gate_has_read(tmp_path, images, monkeypatch):
    taken = []
    take = _Held.take
    monkeypatch.setattr(_Held, "take", lambda held, file: taken.append(take(held, file)) or taken[-1])
    infer_folder(images, model(tmp_path / "model", [9.0, 0, 0]), tmp_path / "labels", "cpu")
    (array,) = taken
    assert np.array_equal(array, phantom(0)[0])
