"""The table of a finished run and of `infer`, held against its schema in the docs."""

import hashlib
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from bundle.results.files import TableFiles
from bundle.results.of_run import LabelledCases, result_table, volumes_ml
from bundle.version import bundle_version
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.records import PseudoLabelRecord
from scripts.quality.records import CheckRecord
from scripts.segmentation.label_map_record import LabelMapRecord
from tests.paths import ROOT
from tests.report.runs import CLASSES, SHEARED, build_run, save
from tests.results.test_table import class_check

SCHEMA = read_json(ROOT / "docs" / "results.schema.json")
VOXEL_ML = 2.0 * 3.0 * 4.0 / 1000
ORGAN_ML = 6**3 * VOXEL_ML  # of both classes in `build_run`


@pytest.fixture
def run(tmp_path):
    """A finished run without records of its label maps, as older versions left them; case_2 is flagged."""
    out = build_run(tmp_path / "out")
    work = WorkFolder(out)
    flagged = class_check(0.3, True, ("it agrees little with network 0.20",))
    checks = {"spleen": flagged, "left_kidney": class_check(0.9)}
    write_json(work.self_check / "case_2.json", CheckRecord("case_2", 0.9, 1.0, False, (), checks).to_json())
    (out / "model.pt").write_bytes(b"weights")
    return work


def cases_of(work, **changes):
    cases = LabelledCases.of_cohort(
        load_cohort(work.path),
        work.predictions,
        work.self_check,
        {"segmentation": work.path / "model.pt"},
        accepted={"case_1"},
        noted=(work.predictions,),
    )
    return replace(cases, **changes)


def rows_of(work, **changes):
    return {(row.case, row.class_name): row for row in result_table(cases_of(work, **changes), work.path).rows}


def test_every_case_and_class_has_a_row_and_what_was_left_out_has_one(run):
    cases = ("case & <3>", "case_0", "case_1", "case_2")
    rows = rows_of(run)
    assert list(rows) == [*((case, name) for case in cases for name in CLASSES), ("bad", None)]
    assert [rows[case, "spleen"].role for case in cases] == ["unlabelled", "support", "accepted", "unlabelled"]
    assert rows["case_2", "spleen"].remarks == ("the values are clipped to -50 to 150",)
    assert rows["case_2", "spleen"].admission == "with remarks" and rows["case_1", "spleen"].admission == "admitted"
    assert rows["bad", None].remarks == ("the volume is constant: the value 0 everywhere",)


def test_what_the_self_check_says_is_in_the_row(run):
    rows = rows_of(run)
    spleen, kidney = (rows["case_2", name] for name in CLASSES)
    assert (spleen.predicted_dice, spleen.interval, spleen.flagged) == (0.3, (0.25, 0.75), True)
    assert spleen.reasons == ("it agrees little with network 0.20",)
    assert (kidney.predicted_dice, kidney.flagged, kidney.reasons) == (0.9, False, ())
    assert rows["case_0", "spleen"].predicted_dice is None


def test_files_are_named(run):
    row = rows_of(run)["case_1", "spleen"]
    assert row.label_map == "predictions/case_1.nii.gz"
    assert row.source == str(run.path / "images" / "case_1.nii.gz")


def test_a_case_without_a_label_map_has_no_row(run):
    run.predictions.label("case_1").unlink()
    assert [case for case, _ in rows_of(run) if case == "case_1"] == []


def test_the_table_fits_its_schema_and_is_the_same_again(run):
    table = result_table(cases_of(run), run.path)
    content = json.loads(json.dumps(table.to_json()))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert content["version"] == bundle_version()
    assert content["weights_sha256"] == {"segmentation": hashlib.sha256(b"weights").hexdigest()}
    files = TableFiles(run.results_json, run.results_csv)
    files.write(table)
    before = run.results_json.read_bytes(), run.results_csv.read_bytes()
    for file in (run.results_json, run.results_csv):
        file.unlink()
    files.write(result_table(cases_of(run), run.path))
    assert (run.results_json.read_bytes(), run.results_csv.read_bytes()) == before


@pytest.mark.parametrize(
    "change", [{"role": "other"}, {"predicted_dice": 1.5}, {"class": None}, {"label": "1"}, {"extra": 1}]
)
def test_the_schema_refuses_other_rows(run, change):
    content = result_table(cases_of(run), run.path).to_json()
    content["rows"][0] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_volumes_of_a_label_map_without_recorded_ones_are_measured(run):
    assert volumes_ml(run.predictions, "case_0", CLASSES) == pytest.approx(
        {"spleen": ORGAN_ML, "left_kidney": ORGAN_ML}
    )


def test_recorded_volumes_are_taken_without_reading_the_label_map(tmp_path):
    labels = LabelFolder(tmp_path)
    labels.label("a").write_bytes(b"not read")
    grown = PseudoLabelRecord("a", CLASSES, volume_ml={"spleen": 1.5, "left_kidney": 0.0})
    write_json(labels.record("a"), grown.to_json())
    assert volumes_ml(labels, "a", CLASSES) == {"spleen": 1.5, "left_kidney": 0.0}
    write_json(labels.record("a"), LabelMapRecord("a", (), {3: 2.25}).to_json())
    assert volumes_ml(labels, "a", CLASSES) == {"spleen": 0.0, "left_kidney": 2.25}


def test_a_record_of_an_older_version_says_nothing_of_volumes(tmp_path):
    labels = LabelFolder(tmp_path)
    array = np.zeros((24, 24, 24), np.uint8)
    array[:5, 0, 0] = 3
    save(tmp_path, array, "a")
    write_json(labels.record("a"), {"case": "a", "warnings": ["odd"]})
    assert volumes_ml(labels, "a", CLASSES) == pytest.approx({"spleen": 0.0, "left_kidney": 5 * VOXEL_ML})
    save(tmp_path, array, "a", SHEARED)
    assert volumes_ml(labels, "a", CLASSES) == pytest.approx({"spleen": 0.0, "left_kidney": 5 * VOXEL_ML})


def test_what_the_network_s_writer_remarks_is_told(run):
    name = "case & <3>"
    write_json(run.predictions.record(name), LabelMapRecord(name, ("the label map is empty",)).to_json())
    row = rows_of(run)[name, "spleen"]
    assert (row.admission, row.remarks) == ("with remarks", ("the label map is empty",))


@pytest.mark.parametrize("case", ["case_0", "case_1"])
def test_of_the_support_and_of_accepted_cases_the_network_s_own_label_map_does_not_count(run, case):
    write_json(run.predictions.record(case), LabelMapRecord(case, ("the label map is empty",)).to_json())
    assert rows_of(run)[case, "spleen"].remarks == ()


def test_a_damaged_record_is_an_error_that_names_it(run):
    file = run.self_check / "case_2.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match="the record is damaged") as caught:
        rows_of(run)
    assert caught.value.file == str(file)


def test_the_record_of_a_label_map_reads_back(tmp_path):
    record = LabelMapRecord("a", ("odd",), {1: 0.1234567, 6: 2.0})
    write_json(tmp_path / "a.json", record.to_json())
    assert LabelMapRecord.read(tmp_path / "a.json") == replace(record, volume_ml={1: 0.123, 6: 2.0})
