"""The page: complete, self-contained and right."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from hashlib import sha256

import pytest

from bundle.command_line import main
from bundle.report.browser.data_files import key_of, script_json
from bundle.report.browser.page_frame import VIEWER_FILE
from bundle.report.page import BYTES_PER_PIXEL, PICTURE_BUDGET_BYTES, PIXEL_RANGE, tile_pixels, write_report
from bundle.report.support import mask_lines
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PseudoLabelRecord
from tests.quality.checks import check_record, class_check
from tests.report.runs import (
    CASES,
    CLASSES,
    beside,
    cohort,
    data_of,
    label_map,
    lines_of,
    panel_of,
    propagate,
    save,
    text_of,
    tree_of,
    write_curve,
)


def test_page_is_well_formed_and_self_contained(finished):
    path = finished
    assert path.parts[-2:] == ("report", "index.html")
    elements = list(tree_of(path).iter())
    targets = [element.get(key) for element in elements for key in ("src", "href") if element.get(key)]
    assert targets and all(target.startswith(("#", "data:image/")) for target in targets)
    assert not [element for element in elements if element.tag in ("link", "iframe")]
    assert not [name for element in elements for name in element.attrib if name.startswith("on")]
    for file in (path, *(path.parent / "cases").iterdir()):
        text = file.read_text(encoding="utf-8")
        assert "http://" not in text and "https://" not in text and "url(" not in text, file
    identifiers = [element.get("id") for element in elements if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert {target[1:] for target in targets if target.startswith("#")} <= set(identifiers)
    assert path.stat().st_size < 3e5, "pictures and volumes are beside it"
    kinds = {f"{key_of(case)}_{kind}.js" for case in CASES for kind in ("panel", "volume")}
    assert {file.name for file in (path.parent / "cases").iterdir()} == kinds | {f"{key_of('case_0')}_strokes.js"}
    assert {file.name for file in path.parent.iterdir()} == {"index.html", "cases", "niivue.umd.js"}


def test_only_the_pages_own_scripts_may_run(finished):
    tree = tree_of(finished)
    (policy,) = [one.get("content") for one in tree.iter("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    text = finished.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = {f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts}
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes and len(hashes) == 1
    assert policy.startswith("default-src 'none'; script-src 'self' file: ")


def test_page_tells_everything(finished):
    text = text_of(finished)
    for case in CASES:
        assert case in text
    for sentence in (
        "Research use only, not for diagnosis.",
        "case_2 : the values are clipped to -50 to 150",
        "In the images folder, but not used (2)",
        "notes.txt, list.csv: no volume",
        "Strokes of liver count as background.",
        "the volume is constant: the value 0 everywhere",
        "spleen = 1",
        "background strokes = 14",
        "paper, small configuration",
        "A stroke point counts as found if its score is above 0.5",
        "Radiological convention",
        "3 of 4 (75%)",
        "1 min 15 s",
        "512 MB",
        "There are no scores with true labels of these label maps",
        "2 epochs in 4.0 s.",
        "7 0.940 to 0.950 3 0 3",
        "No training curve in prnet/fine",
        "No training curve in segmentation",
    ):
        assert sentence in text, sentence
    assert "Synthetic phantom" not in text


@pytest.mark.parametrize(
    ("chosen", "bounded"),
    [
        ({"bounded_labels": True}, True),
        ({"bounded_labels": False}, False),
        ({"bounded_labels": None}, True),
        ({}, False),
    ],
)
def test_bounded_label_maps_are_told(output, chosen, bounded):
    write_json(output / "run.json", {"mode": "paper", "small": True, **chosen})
    assert ("paper, small configuration; bounded label maps" in text_of(write_report(output))) == bounded


def test_label_maps_are_told_as_they_were_made_whatever_the_last_command_asked_for(output):
    write_json(output / "run.json", {"mode": "paper", "small": True, "bounded_labels": None})
    record = output / "pseudo_labels" / "case_0.json"
    for growth, bounded in ((None, False), ({"growth_share": 0.4}, True)):
        write_json(record, {"settings": {"growth": growth}})
        assert ("paper, small configuration; bounded label maps" in text_of(write_report(output))) == bounded


def test_cases_to_look_at_first_come_first_and_say_why(finished):
    assert [entry["id"] for entry in data_of(finished)["cases"]] == ["case_1", "case_2", "case & <3>", "case_0", "bad"]
    assert lines_of(finished, "case_1") == {
        "spleen": (0, []),
        "left_kidney": (1, ["none of 4 points of its strokes was found again"]),
    }
    assert lines_of(finished, "case_2") == {
        "": (1, ["the values are clipped to -50 to 150"]),
        # spleens 6 wide, shifted by 2: Dice 2 * 4 / 12
        "spleen": (1, ["transferred and final label disagree: Dice 0.67"]),
        "left_kidney": (0, []),
    }
    assert lines_of(finished, "case & <3>") == {"spleen": (0, []), "left_kidney": (0, [])}
    assert lines_of(finished, "bad") == {"": (1, ["the volume is constant: the value 0 everywhere"])}


def test_each_failure_is_told_once(finished):
    texts = data_of(finished)["texts"]
    assert texts and len(texts) == len(set(texts))
    page = finished.read_text(encoding="utf-8")
    beside = [file.read_text(encoding="ascii") for file in (finished.parent / "cases").iterdir()]
    for text in texts:
        assert page.count(script_json(text)[1:-1]) == 1, text
        assert not [content for content in beside if text in content], text


@pytest.mark.parametrize("word", ["pseudo label", "kept by rule", "Weight", "robust z", "propagated", "votes"])
def test_no_word_needs_a_glossary(finished, word):
    assert word not in text_of(finished)


def test_the_modes_own_networks_have_a_curve(output):
    write_json(output / "run.json", {"mode": "default"})
    write_curve(output / "embedding", "epoch,train_loss\n1,2.5\n2,1.5\n")
    text = text_of(write_report(output))
    assert "Embedding network 2 epochs" in text and "position network" not in text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            {"name": "probabilities", "levels": [], "least_point_probability": 0.8, "point_reach_mm": 24.0},
            "its class is more probable than 0.8, it is moved by at most 24 mm",
        ),
        (
            {"name": "first_round", "levels": ["fine"], "point_cycle_mm": 16.0, "tissue_tolerance": 0.08, "tau": None},
            "it comes back within 16 mm, its intensity is within 0.08 of the strokes'",
        ),
    ],
)
def test_what_a_kept_point_had_to_fulfil_is_told(output, rule, words):
    for case in CASES:
        propagate(output, case, rule=rule)
    assert f"A stroke point counts as found if {words}" in text_of(write_report(output))


def test_the_support_mask_is_outlined_and_says_what_opening_took(output):
    before = beside(write_report(output), "strokes", "case_0")
    grown = WorkFolder(output).support_mask
    save(grown.path, label_map(), "case_0")
    record = PseudoLabelRecord(
        "case_0",
        CLASSES,
        opened_share={"spleen": 0.25, "left_kidney": 0.0},
        border_confidence={"spleen": 0.95, "left_kidney": 0.72},
        kinds={"spleen": "blob"},
    )
    write_json(grown.record("case_0"), record.to_json())
    path = write_report(output)
    text = text_of(path)
    assert f"run again with --support-mask: {grown.label('case_0')}" in text
    assert text.count("opening cut off") == 1 and "opening cut off 25% of what grew" in text
    assert "voxels drawn; support mask: 5.2 ml, grown as a blob, border confidence 0.95; opening cut off" in text
    assert text.count("no clear border") == 1 and "5.2 ml, border confidence 0.72; no clear border: look" in text
    assert mask_lines(output)[1].startswith("left_kidney: 5.2 ml, border confidence 0.72; no clear border")
    assert beside(path, "strokes", "case_0").count('class="c pseudo"') > before.count('class="c pseudo"') == 0
    given = WorkFolder(output).pseudo_labels.label("case_0")
    write_json(output / "run.json", {"support_mask": str(given)})
    text = text_of(write_report(output))
    assert f"--support-mask: {given}" in text
    assert "opening cut off" not in text and "no clear border" not in text, "one that was given did not grow"
    assert mask_lines(output) == ["spleen: 5.2 ml", "left_kidney: 5.2 ml"]


def test_the_round_trip_dice_is_told(output):
    assert "and back agree" not in text_of(write_report(output)), "mode paper sends no labels"
    for case, spleen in zip(CASES, (1.0, 0.4, 0.6), strict=False):
        propagate(output, case, round_trip_dice={"spleen": spleen, "left_kidney": 0.9})
    text = text_of(write_report(output))
    assert "and back agree with the support mask by a mean Dice of 0.70" in text, "spleen 0.5, left kidney 0.9"
    assert "round-trip Dice with other cases 0.50" in text


@pytest.mark.parametrize("place", ["dataset", "assumption"])
def test_phantom_is_said_loudly(output, place):
    if place == "dataset":
        write_json(output / "dataset.json", {"phantom": True})
    else:
        write_json(output / "cohort.json", cohort(output, assumptions=["The cohort is a synthetic phantom."]))
    warning = next(p for p in tree_of(write_report(output)).iter("p") if p.get("class") == "phantom")
    assert warning.text.startswith("Synthetic phantom")


def test_scores_of_the_evaluation_are_shown(output):
    score = {"dice": 0.91, "hd95_mm": 4.25, "surface_dice_2mm": None, "status": "ok"}
    summary = {"dice_mean": 0.9, "dice_sd": 0.02, "hd95_mean_mm": 4.0, "hd95_sd_mm": None, "n": 3, "absent": 1}
    content = {"cases": {"case_1": {"spleen": score}}, "classes": {"spleen": summary}, "mean_dice": 0.9}
    write_json(output / "report" / "metrics.json", content)
    path = write_report(output)
    text = text_of(path)
    assert "Mean Dice over organs 0.900." in text
    assert "spleen 0.900 ± 0.020 4.0 – 3 1" in text
    row = next(row for row in panel_of(path, "case_1").iter("tr") if "spleen" in "".join(row.itertext()))
    assert [cell.text for cell in row][-2:] == ["4.2", "ok"]
    scored = (output / "report" / "metrics.json").stat().st_mtime
    os.utime(output / "predictions" / "case_1.nii.gz", (scored + 1, scored + 1))
    assert "Mean Dice over organs" not in text_of(write_report(output)), "a label map was made again"


def test_many_classes_get_smaller_pictures():
    assert tile_pixels(len(CLASSES)) == PIXEL_RANGE[1]
    assert 14 * 3 * tile_pixels(13) ** 2 * BYTES_PER_PIXEL <= PICTURE_BUDGET_BYTES < 14 * 3 * 320**2 * BYTES_PER_PIXEL


def test_what_was_remarked_on_the_strokes_is_said(output):
    work = WorkFolder(output)
    write_json(work.scribble_remarks, {"warnings": ["spleen: its strokes lie on 1 slice only"]})
    grown = PseudoLabelRecord("case_0", CLASSES).to_json()
    write_json(work.support_mask.record("case_0"), grown | {"warnings": ["spleen grew from 1 ml to <2> ml"]})
    text = text_of(write_report(output))
    assert "Look here: spleen: its strokes lie on 1 slice only" in text
    assert "Look here: spleen grew from 1 ml to <2> ml" in text
    write_json(work.scribble_remarks, ["another thing"])
    assert "Look here: spleen: its" not in text_of(write_report(output))


def test_one_case_can_have_a_page_of_its_own(output, capsys):
    main(["report", "--output", str(output), "--case", "case & <3>"])
    path = output / "report" / "case_case & <3>.html"
    assert f"report: {path}" in capsys.readouterr().out and (output / "report" / "index.html").is_file()
    tree = tree_of(path)
    assert [entry["id"] for entry in data_of(path)["cases"]] == ["case & <3>"] and data_of(path)["ticks"] is False
    assert data_of(path)["open"] == key_of("case & <3>")
    within = {one.get("id"): one.text for one in tree.iter("script") if one.get("type") == "application/json"}
    for kind in ("panel", "volume"):
        assert json.loads(within[f"{kind}-{key_of('case & <3>')}"]) == beside(path, kind, "case & <3>")
    assert not [one for one in tree.iter("script") if one.get("src")]
    assert path.stat().st_size > VIEWER_FILE.stat().st_size, "the viewer is within it"


def test_a_cases_own_page_tells_nothing_of_others(output):
    write_json(output / "run.json", {"mode": "default"})
    write_report(output, alone="case_1")
    path = output / "report" / "case_case_1.html"
    assert "left out" in text_of(output / "report" / "index.html") and "left out" not in text_of(path)
    assert not [case for case in CASES if case != "case_1" and case in text_of(path)]
    data = data_of(path)
    used = {number for entry in data["cases"] for line in entry["lines"] for number in line[-1]}
    used |= {number for _, numbers in data["common"] for number in numbers}
    assert [text for number, text in enumerate(data["texts"]) if text and number not in used] == []


def test_a_later_report_tells_no_former_results_and_nothing_of_cases_that_are_gone(output):
    """Pages of one case alone are written again; what was written of a case that left the cohort goes."""
    for case in ("case_1", "case_2"):
        write_report(output, alone=case)
    report = output / "report"
    foreign = [report / "case_of_mine.html", report / "cases" / "my_own.js"]
    for file in foreign:
        file.write_text("somebody else's", encoding="utf-8")
    cohort = read_json(output / "cohort.json")
    del cohort["cases"]["case_2"]
    write_json(output / "cohort.json", cohort)
    check = check_record("case_1", {"spleen": class_check(flagged=True, reasons=("said anew",))})
    write_json(output / "self_check" / "case_1.json", check.to_json())
    write_report(output)
    assert "said anew" in (report / "case_case_1.html").read_text(encoding="utf-8")
    assert not (report / "case_case_2.html").exists() and all(file.exists() for file in foreign)
    kept = {file.name.split("_")[0] for file in (report / "cases").glob("*_*.js")} - {"my"}
    assert kept == {key_of(case) for case in cohort["cases"]}


def test_a_cases_own_page_names_no_atlas(output):
    unsure = "the atlases are not sure of it; it agrees least with case_3 0.10, case_2 0.20"
    spleen = class_check(flagged=True, reasons=(unsure, "its tissue is unlike"))
    write_json(output / "self_check" / "case_1.json", check_record("case_1", {"spleen": spleen}).to_json())
    path = write_report(output, alone="case_1")
    assert lines_of(path.with_name("index.html"), "case_1")["spleen"] == (1, [unsure, "its tissue is unlike"])
    told = ["the atlases are not sure of it", "its tissue is unlike"]
    assert lines_of(path, "case_1")["spleen"] == (1, told)
    whole = path.read_text(encoding="utf-8")
    assert not [case for case in CASES if case != "case_1" and case in whole]


def test_a_case_that_is_not_there_is_named(output):
    with pytest.raises(BundleError, match=r"there is no such case(.|\n)*found: case_9"):
        write_report(output, alone="case_9")
    assert not (output / "report").exists()
