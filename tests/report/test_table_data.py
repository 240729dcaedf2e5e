"""The table's data: everything once, small for a thousand cases, and no markup whatever a name holds."""

from __future__ import annotations

import json

import pytest

from bundle.report.browser.data_files import key_of, script_json
from bundle.report.browser.table_data import CaseRows
from bundle.report.case_results import CaseResult, ClassResult
from bundle.report.page import Findings, index_page, write_report
from bundle.report.run import Choices, Run
from bundle.report.support import SupportPart
from bundle.report.trouble import rank_cases
from bundle.results.table import CaseFacts, case_rows
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from tests.quality.checks import check_record, class_check
from tests.report.runs import CASES, data_of, lines_of

ORGANS = {f"organ_{number}": number for number in range(1, 14)}
HOSTILE = "</script><b>&'\"\u2028"
LARGEST_BYTES = 3_000_000


def findings_of(cases, folder, classes=ORGANS, reasons=("its volume is unlike the cohort's",)) -> Findings:
    """A run of many cases, in memory alone; every second organ is flagged for a reason of its own."""
    results, rows = {}, {}
    for number, case in enumerate(cases):
        told = [(*reasons, f"it agrees least with case_{number} 0.{label:02}") for label in classes.values()]
        checks = {
            name: class_check(flagged=label % 2 == 0, reasons=told[label - 1] if label % 2 == 0 else ())
            for name, label in classes.items()
        }
        facts = CaseFacts(case, "unlabelled", "", "", (), dict.fromkeys(classes, 123.456), check_record(case, checks))
        rows[case] = CaseRows(tuple(case_rows(facts, classes)), "0123456789abcdef")
        results[case] = CaseResult(
            case,
            {
                name: ClassResult(name, label, predicted_dice=0.9, volume_ml={"prediction": 123.456})
                for name, label in classes.items()
            },
            ("pseudo", "prediction"),
        )
    run = Run(WorkFolder(folder), None, classes, tuple(cases), {}, Choices(mode="default"))
    return Findings(run, results, rows, rank_cases(results), SupportPart(("No support is recorded.",)))


def test_a_page_of_a_thousand_cases_and_thirteen_organs_stays_below_3_mb(tmp_path):
    findings = findings_of([f"patient_{number:04}_series_with_a_longer_name" for number in range(1000)], tmp_path)
    page = "".join(index_page(findings))
    assert page.count('"id":"patient_') == 1000 and len(findings.table()["cases"][0]["lines"]) == 13
    assert len(page.encode()) < LARGEST_BYTES


@pytest.mark.parametrize("name", [HOSTILE, "]]>", "<!--", "${x}`", "a\\b"])
def test_names_cannot_leave_the_script_element(tmp_path, name):
    page = "".join(index_page(findings_of([name], tmp_path, {name: 1}, (name,))))
    element = page.split('id="report-data">')[1].split("</script>")[0]
    assert not set(element) & set("<>&") and element.isascii()
    data = json.loads(element)
    assert data["cases"][0]["id"] == data["classes"][0]["name"] == name
    assert page.count("<b>") == 0


def test_json_in_scripts_means_the_same():
    value = {"<a>": [HOSTILE, 1.5, None, True]}
    assert json.loads(script_json(value)) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_files_of_a_case_have_names_that_mean_nothing_in_an_address():
    assert key_of("a?b#c%20") != key_of("a") and key_of("\udc80").isalnum()
    assert key_of("case_0") == key_of("case_0") and len(key_of("case_0")) == 16


def test_what_all_checked_cases_have_in_common_is_told_once(output):
    shared = "the support mask has no clear border"
    for case in CASES[1:]:
        spleen = class_check(flagged=True, reasons=(shared, f"only in {case}"))
        record = check_record(case, {"spleen": spleen, "left_kidney": class_check()})
        write_json(output / "self_check" / f"{case}.json", record.to_json())
    page = write_report(output)
    data = data_of(page)
    assert [(organ, [data["texts"][n] for n in texts]) for organ, texts in data["common"]] == [(0, [shared])]
    for case in CASES[1:]:
        assert lines_of(page, case)["spleen"] == (1, [f"only in {case}"])
    assert lines_of(page, CASES[1])["left_kidney"] == (0, [])


def test_what_the_self_check_does_not_flag_is_not_flagged(output):
    record = check_record("case_2", {"spleen": class_check(), "left_kidney": class_check()})
    write_json(output / "self_check" / "case_2.json", record.to_json())
    assert lines_of(write_report(output), "case_2")["spleen"] == (0, []), "although its two labels disagree"


def test_a_damaged_record_costs_a_case_no_volume(output):
    (output / "self_check").mkdir()
    (output / "self_check" / "case_2.json").write_text("{", encoding="utf-8")
    page = write_report(output)
    assert "case_2.json is damaged and was left out." in lines_of(page, "case_2")[""][1]
    entry = next(entry for entry in data_of(page)["cases"] if entry["id"] == "case_2")
    assert [line[1] for line in entry["lines"][1:]] == [pytest.approx(216 * 24 / 1000, abs=1e-3)] * 2


def test_roles_and_label_maps_say_what_can_be_ticked(output):
    write_json(output / "run.json", {"mode": "default", "accepted": ["case_2"]})
    before = data_of(write_report(output))
    assert before["ticks"] is True
    roles = {entry["id"]: entry["role"] for entry in before["cases"]}
    assert roles == dict(zip(CASES, ("support", "unlabelled", "accepted", "unlabelled"), strict=True)) | {
        "bad": "left out"
    }
    label = WorkFolder(output).predictions.label("case_1")
    label.write_bytes(WorkFolder(output).predictions.label("case_2").read_bytes())
    maps = [{entry["id"]: entry["map"] for entry in data["cases"]} for data in (before, data_of(write_report(output)))]
    assert [case for case in maps[0] if maps[0][case] != maps[1][case]] == ["case_1"]
    write_json(output / "run.json", {"mode": "paper"})
    assert data_of(write_report(output))["ticks"] is False
