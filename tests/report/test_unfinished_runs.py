"""Runs that are incomplete or damaged: the page says so and shows the rest."""

from __future__ import annotations

import pytest

from bundle.report.browser.data_files import key_of
from bundle.report.page import write_report
from bundle.results.final_labels import note_final_labels
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder
from scripts.quality.records import CheckRecord
from tests.report.runs import (
    build_support_mask_alone,
    data_of,
    label_map,
    lines_of,
    save,
    text_of,
    tree_of,
    write_curve,
)
from tests.results.test_table import class_check


def test_partial_run_says_what_is_missing(output):
    for path in [*(output / "predictions").iterdir(), output / "state.json"]:
        path.unlink()
    (output / "pseudo_labels" / "case_2.nii.gz").unlink()
    (output / "propagation" / "case_2.json").unlink()
    text = text_of(write_report(output))
    assert "There is no final label for this case, nor for any other: the network did not run yet." in text
    assert "There is no transferred label for this case." in text
    assert "Labels were not sent to this case yet." in text
    assert "Label correction did not run: no flips are recorded." in text
    assert "No times are recorded" in text


def test_of_the_support_mask_alone_the_page_says_what_comes_next_and_lists_no_failures(tmp_path):
    out = build_support_mask_alone(tmp_path / "out")
    page = write_report(out)
    text, tree, data = text_of(page), tree_of(page), data_of(page)
    assert "4 cases: 1 left out; scribbled: case_0. Only the support mask was made so far." in text
    assert "the command oneshot, with the same options, comes next" in text
    assert "self-check; mode default" not in text and "Right as it is" not in text and data["ticks"] is False
    assert [entry["id"] for entry in data["cases"] if entry["key"]] == ["case_2", "case_0"], "one is odd, one is shown"
    assert lines_of(page, "case_0") == {"": (0, ["so far it has a support mask alone"])}
    alone = write_report(out, alone="case_1")
    assert lines_of(alone, "case_1") == {"": (0, ["it has no label map yet"])}
    assert [part.get("id") for part in tree.iter("section")] == ["support", "results", "times"]
    assert next(part for part in tree.iter("details") if part.get("data-load") == "strokes").get("open") is not None
    assert {link.get("href") for link in tree.iter("a")} == {"#run", "#results", "#support", "#times"}


def test_with_any_label_map_the_page_is_that_of_a_run(tmp_path):
    out = build_support_mask_alone(tmp_path / "out")
    save(WorkFolder(out).pseudo_labels.path, label_map(), "case_1")
    page = write_report(out)
    assert "Only the support mask" not in text_of(page) and data_of(page)["ticks"] is True
    assert "There was no self-check; oneshot and propagate make one." in text_of(page)
    assert lines_of(page, "case & <3>") == {"": (0, ["it has no label map yet"])}


def test_final_labels_of_other_pseudo_labels_are_not_shown_as_such(output):
    work = WorkFolder(output)
    checks = {"spleen": class_check(0.9), "left_kidney": class_check(0.9)}
    write_json(work.self_check / "case_2.json", CheckRecord("case_2", 0.9, 1.0, False, (), checks).to_json())
    write_record(work.pseudo_labels.record("case_2"), {}, "first", [])
    note_final_labels(work)
    assert map_of(write_report(output), "case_2") == sha256_of_file(work.predictions.label("case_2"))[:16]
    write_record(work.pseudo_labels.record("case_2"), {}, "second", [])
    page = write_report(output)
    assert map_of(page, "case_2") == sha256_of_file(work.pseudo_labels.label("case_2"))[:16]
    entry = next(one for one in data_of(page)["cases"] if one["id"] == "case_2")
    assert {line[2] for line in entry["lines"]} == {None}, "the self-check is of the final labels"
    text = text_of(page)
    assert "The final labels in predictions are of before" in text
    assert "nor for any other: the network did not run since labels were transferred." in text


def test_a_support_mask_that_grew_after_the_label_maps_is_said(output):
    work = WorkFolder(output)
    note_final_labels(work)
    write_record(work.support_mask.record("case_0"), {}, "second", [])
    assert "the support mask grew anew since" in text_of(write_report(output))


def test_label_maps_of_an_image_that_was_replaced_are_said(output):
    """As `support-mask` leaves a folder: it knows the new image, and makes no label maps."""
    work, cohort = WorkFolder(output), read_json(output / "cohort.json")
    note_final_labels(work, {name: case["sha256"] for name, case in cohort["cases"].items()})
    assert "images were replaced" not in text_of(write_report(output))
    cohort["cases"]["case_1"]["sha256"] = "f" * 64
    write_json(output / "cohort.json", cohort)
    assert "the command oneshot labels them anew: case_1." in text_of(write_report(output))


def map_of(page, case):
    return next(one["map"] for one in data_of(page)["cases"] if one["id"] == case)


def test_results_without_cohort_file_are_reported(output):
    (output / "cohort.json").unlink()
    text = text_of(write_report(output))
    assert "There is no readable cohort.json" in text
    assert "No support is recorded" in text
    assert "case_2" in text and "spleen = 1" in text


def test_empty_folder_gives_a_page(tmp_path):
    assert "There is no case" in text_of(write_report(tmp_path))


def test_damaged_files_become_sentences(output):
    (output / "propagation" / "case_0.json").write_text("{", encoding="utf-8")
    write_json(output / "propagation" / "case_2.json", [1])
    (output / "pseudo_labels" / "case_2.nii.gz").write_bytes(b"no volume")
    (output / "images" / "case_1.nii.gz").write_bytes(b"no volume")
    write_curve(output / "prnet" / "coarse", "epoch,train_loss\n1,much\n")
    text = text_of(write_report(output))
    assert "case_0.json is damaged and was left out." in text
    assert "case_2.json is damaged and was left out." in text
    assert "The transferred label, case_2.nii.gz, cannot be read" in text
    assert "No pictures: [stage report] the volume cannot be read" in text
    assert "No training curve in prnet/coarse" in text


def test_the_viewer_keeps_no_volume_of_an_image_that_can_no_longer_be_read(output):
    cases = write_report(output).parent / "cases"
    volumes = {case: cases / f"{key_of(case)}_volume.js" for case in ("case_0", "case_1", "case_2")}
    assert all(file.is_file() for file in volumes.values())
    (output / "images" / "case_1.nii.gz").write_bytes(b"no volume")
    (output / "images" / "case_2.nii.gz").unlink()
    write_report(output)
    assert {case for case, file in volumes.items() if file.exists()} == {"case_0"}


def test_a_damaged_record_of_any_kind_becomes_a_sentence(output):
    (output / "run.json").write_text("[", encoding="utf-8")
    (output / "state.json").write_text("[", encoding="utf-8")
    write_json(output / "self_check" / "case_1.json", {"classes": {"spleen": {"predicted_dice": 0.9}}})
    write_json(output / "support_mask" / "case_0.json", {})
    text = text_of(write_report(output))
    for name in ("run.json", "state.json", "case_1.json"):
        assert f"{name} is damaged and was left out." in text
    assert "There was no self-check" in text and "No times are recorded" in text


def test_values_of_another_kind_in_a_log_or_record_stop_no_report(output):
    write_json(output / "state.json", {"embedding": {"done": True, "seconds": 3, "peak_memory_mb": "much"}})
    write_json(output / "run.json", {"mode": 7, "small": [], "weights": {}, "support_mask": 3})
    for warnings, case in ((7, "case_1"), ([["odd"]], "case_2")):
        write_json(output / "predictions" / f"{case}.json", {"warnings": warnings})
    assert "odd" in text_of(write_report(output))


def test_a_damaged_cohort_file_is_as_none(output):
    write_json(output / "cohort.json", {"cases": {"case_0": {}}})
    text = text_of(write_report(output))
    assert "cohort.json is damaged and was left out." in text and "There is no readable cohort.json" in text
    assert "case_2" in text


def test_missing_folders_are_errors(tmp_path, output):
    with pytest.raises(BundleError, match="the work directory is missing"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="folder is missing"):
        write_report(output, tmp_path / "nowhere")
