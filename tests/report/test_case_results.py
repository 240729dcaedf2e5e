"""What is measured of a case."""

from __future__ import annotations

import pytest

from bundle.report.case_results import ClassResult, summarise_case
from bundle.report.page import write_report
from bundle.report.run import load_run
from scripts.common.files import write_json
from tests.quality.checks import check_record, class_check
from tests.report.runs import SHEARED, data_of, label_map, lines_of, propagate, save, text_of


def test_case_is_measured_in_millilitres_and_dice(output):
    save(output / "labels", label_map(shift=3), "case_2")
    run = load_run(output, output / "labels")
    spleen = summarise_case(run, "case_2").classes["spleen"]
    assert spleen.volume_ml["prediction"] == pytest.approx(216 * 24 / 1000)
    assert spleen.dice[("pseudo", "prediction")] == pytest.approx(2 * 4 / 12)
    assert spleen.dice[("pseudo", "truth")] == pytest.approx(2 * 3 / 12)
    assert spleen.dice[("prediction", "truth")] == pytest.approx(2 * 5 / 12)
    assert (spleen.points, spleen.kept, spleen.dropped, spleen.score) == (4, 3, {"similarity": 1}, 0.6)
    assert summarise_case(run, "case_1").classes["left_kidney"].not_located
    text = text_of(write_report(output, output / "labels"))
    assert "given for 1 cases, for scoring only" in text
    assert "0.500 0.833" in text
    assert "There is no true label for this case." in text


def test_voxels_of_a_sheared_grid_are_no_boxes(output):
    for folder in ("pseudo_labels", "predictions"):
        save(output / folder, label_map(), "case_0", SHEARED)
    volume_ml = summarise_case(load_run(output), "case_0").classes["spleen"].volume_ml
    assert volume_ml == pytest.approx({"pseudo": 216 * 24 / 1000, "prediction": 216 * 24 / 1000})


def test_what_became_of_the_points_is_counted(output):
    propagate(output, "case_2", round_trip_dice={"spleen": 0.75})
    classes = summarise_case(load_run(output), "case_2").classes
    assert list(classes) == ["spleen", "left_kidney", "background"]
    spleen = classes["spleen"]
    assert spleen.kept_share == 0.75
    assert spleen.round_trip_dice == 0.75 and classes["left_kidney"].round_trip_dice is None
    background = classes["background"]
    assert (background.points, background.kept, background.volume_ml) == (4, 4, {})


def test_where_a_class_lies_is_found_over_all_maps(output):
    spleen = summarise_case(load_run(output), "case_2").classes["spleen"]
    # Stored L, P, S: canonical x = 23 - i, y = 23 - j. The pseudo label has i 4 to 9, the prediction 6 to 11.
    assert (spleen.low, spleen.high) == ((12, 13, 6), (19, 18, 11))
    x, y, z = spleen.centre
    assert x in (14, 15) and y in (15, 16) and z in (8, 9), "the prediction's"


def test_what_the_self_check_says_counts_for_each_class(output):
    spleen = class_check(predicted_dice=0.412, interval=(0.3, 0.5), flagged=True, reasons=("not found",))
    kidney = class_check(predicted_dice=0.91, interval=(0.88, 0.95))
    record = check_record("case_2", {"spleen": spleen, "left_kidney": kidney}, "the body is unlike")
    write_json(output / "self_check" / "case_2.json", record.to_json())
    classes = summarise_case(load_run(output), "case_2").classes
    assert classes["spleen"].reasons == ("the body is unlike", "not found") and classes["left_kidney"].reasons == ()
    assert classes["left_kidney"].predicted_dice == 0.91
    assert summarise_case(load_run(output), "case_3").classes["spleen"].predicted_dice is None
    assert "Against the given true labels" not in text_of(write_report(output))
    save(output / "labels", label_map(shift=3), "case_2")
    text = text_of(write_report(output, output / "labels"))
    assert "Against the given true labels, 2 results: mean absolute error" in text
    page = write_report(output, output / "labels")
    assert lines_of(page, "case_2")["spleen"] == (1, ["the body is unlike", "not found"])
    line = next(entry for entry in data_of(page)["cases"] if entry["id"] == "case_2")["lines"][2]
    assert line[2:5] == [0.91, 0.88, 0.95]
    assert "spleen 0.41 0.41 (case_2) 1 of 1" in text
    assert "Cases that were checked: 1. So few share most of their errors" in text


def test_a_case_that_the_check_of_the_pseudo_labels_flags_as_a_whole_is_told_before_there_is_another(output):
    checks = {"spleen": class_check(flagged=True, reasons=("not found",))}
    record = check_record("case_2", checks, "the body is mirrored left to right")
    write_json(output / "self_check_pseudo_labels" / "case_2.json", record.to_json())
    spleen = summarise_case(load_run(output), "case_2").classes["spleen"]
    assert spleen.reasons == ("the body is mirrored left to right",) and spleen.predicted_dice is None
    flagged, reasons = lines_of(write_report(output), "case_2")["spleen"]
    assert flagged and reasons[0] == "the body is mirrored left to right"
    write_json(output / "self_check" / "case_2.json", check_record("case_2", {"spleen": class_check()}).to_json())
    assert summarise_case(load_run(output), "case_2").classes["spleen"].reasons == ()


def test_map_on_another_grid_is_left_out(output):
    save(output / "predictions", label_map()[:-1], "case_0")
    result = summarise_case(load_run(output), "case_0")
    assert result.maps == ("pseudo",)
    assert result.notes == ("The final label lies on another grid than the others and is left out.",)


def test_maps_agree_by_what_they_hold_whatever_became_of_points():
    dice = {("pseudo", "prediction"): 0.7}
    of_probabilities = ClassResult(
        "spleen", 1, not_located=True, volume_ml={"pseudo": 5.0, "prediction": 6.0}, dice=dice
    )
    assert of_probabilities.agreement == 0.7
    assert ClassResult("spleen", 1, volume_ml={"pseudo": 0.0, "prediction": 6.0}, dice=dice).agreement is None
