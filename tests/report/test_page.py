"""The page: complete, self-contained and right."""

from __future__ import annotations

from html import unescape

import pytest

from bundle.report.page import BYTES_PER_PIXEL, PAGE_BUDGET_BYTES, PIXEL_RANGE, tile_pixels, write_report
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PseudoLabelRecord
from tests.report.runs import CASES, CLASSES, cohort, label_map, propagate, save, text_of, tree_of, write_curve


def test_page_is_well_formed_and_self_contained(finished):
    path = finished
    assert path.parts[-2:] == ("report", "index.html")
    elements = list(tree_of(path).iter())
    targets = [element.get(key) for element in elements for key in ("src", "href") if element.get(key)]
    assert targets and all(target.startswith(("#", "data:image/")) for target in targets)
    assert not [element for element in elements if element.tag in ("script", "link", "iframe")]
    assert (
        "http://" not in path.read_text(encoding="utf-8")
        and "https://" not in path.read_text(encoding="utf-8")
        and "url(" not in path.read_text(encoding="utf-8")
    )
    identifiers = [element.get("id") for element in elements if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert {target[1:] for target in targets if target.startswith("#")} <= set(identifiers)
    assert path.stat().st_size < 2e6
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_page_tells_everything(finished):
    text = text_of(finished)
    for case in CASES:
        assert case in text
    for sentence in (
        "Research use only, not for diagnosis.",
        "case_2: the values are clipped to -50 to 150",
        "In the images folder, but not used (2)",
        "notes.txt, list.csv: no volume",
        "Strokes of liver count as background.",
        "the volume is constant: the value 0 everywhere",
        "spleen = 1",
        "background strokes = 14",
        "paper, small configuration; points kept by rule dual (m2, m4, score above 0.5)",
        "Radiological convention",
        "3 of 4 (75%)",
        "0.90 0.80",
        "1 min 15 s",
        "512 MB",
        "Nothing was scored with true labels",
        "2 epochs in 4.0 s.",
        "7 0.940 to 0.950 3 0 3",
        "No training curve in prnet/fine",
        "No training curve in segmentation",
    ):
        assert sentence in text, sentence
    assert "Synthetic phantom" not in text


def test_look_first_table_has_the_troubled_cases_in_order(finished):
    path = finished
    table = next(element for element in tree_of(path).iter("table") if element.get("class") == "look")
    rows = [["".join(cell.itertext()) for cell in row] for row in table.find("tbody")]
    assert [row[1] for row in rows] == ["case_1", "case_2"]
    assert "left kidney: not located, none of 4 points kept" in rows[0][3]
    # spleens 6 wide, shifted by 2: Dice 2 * 4 / 12
    assert "spleen: pseudo label and prediction disagree, Dice 0.67" in rows[1][3]
    details = [element for element in tree_of(path).iter("details") if "case" in element.get("class", "").split()]
    names = [element.find("summary/strong").text for element in details]
    assert names == ["case_1", "case_2", "case & <3>", "case_0"]
    assert [element.get("open") for element in details] == ["open", "open", None, None]


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
            "probabilities (probability above 0.8, moved by at most 24 mm)",
        ),
        (
            {"name": "first_round", "levels": ["fine"], "cycle_mm": 16.0, "tissue_tolerance": 0.08, "tau": None},
            "first_round (fine, back within 16 mm, tissue within 0.08 of the strokes' intensity)",
        ),
    ],
)
def test_what_a_kept_point_had_to_fulfil_is_told(output, rule, words):
    for case in CASES:
        propagate(output, case, rule=rule)
    assert f"points kept by rule {words}" in text_of(write_report(output))


def test_the_support_mask_is_outlined_and_says_what_opening_took(output):
    before = write_report(output).read_text(encoding="utf-8")
    grown = WorkFolder(output).support_mask
    save(grown.path, label_map(), "case_0")
    record = PseudoLabelRecord(
        "case_0",
        CLASSES,
        opened_share={"spleen": 0.25, "left_kidney": 0.0},
        border_confidence={"spleen": 0.95, "left_kidney": 0.72},
    )
    write_json(grown.record("case_0"), record.to_json())
    path = write_report(output)
    text = text_of(path)
    assert f"run again with --support-mask: {grown.label('case_0')}" in text
    assert text.count("opening cut off") == 1 and "opening cut off 25% of what grew" in text
    assert text.count("no clear border") == 1 and "no clear border (border confidence 0.72)" in text
    assert path.read_text(encoding="utf-8").count('class="c pseudo"') > before.count('class="c pseudo"')
    given = WorkFolder(output).pseudo_labels.label("case_0")
    write_json(output / "run.json", {"support_mask": str(given)})
    text = text_of(write_report(output))
    assert f"--support-mask: {given}" in text
    assert "opening cut off" not in text and "no clear border" not in text, "one that was given did not grow"


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
    text = text_of(write_report(output))
    assert "Mean Dice over classes 0.900." in text
    assert "spleen 0.900 ± 0.020 4.0 – 3 1" in text
    assert "case_1 spleen 0.910 4.2 – ok" in text


def test_pictures_stop_at_the_budget(output):
    text = text_of(write_report(output, page_bytes=1))
    assert text.count("The page's budget for pictures went to the cases ranked before this one.") == len(CASES) - 1


def test_many_cases_and_classes_get_smaller_pictures():
    assert tile_pixels(len(CASES), len(CLASSES)) == PIXEL_RANGE[1]
    assert 25 * 14 * 3 * tile_pixels(25, 13) ** 2 * BYTES_PER_PIXEL < PAGE_BUDGET_BYTES


def test_strange_names_are_escaped(finished):
    markup = finished.read_text(encoding="utf-8")
    assert "case & <3>" not in markup
    assert "case & <3>" in unescape(markup)


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
