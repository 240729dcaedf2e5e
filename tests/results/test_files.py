"""The table's files: what a spreadsheet and a program read, and whose files are left alone."""

import csv
import io
import json

import pytest

from bundle.results.files import CSV_START, JSON_START, TableFiles, as_csv
from bundle.results.table import CaseFacts, ResultTable, case_rows
from scripts.common.errors import BundleError


def table(case="a", remarks=(), volume_ml=12.5):
    facts = CaseFacts(case, "unlabelled", "in", f"{case}.nii.gz", remarks, {"spleen": volume_ml})
    return ResultTable("1.2", {"embedding": "ab", "segmentation": "cd"}, tuple(case_rows(facts, {"spleen": 1})))


def only_row(**about):
    (row,) = csv.DictReader(io.StringIO(as_csv(table(**about)).removeprefix("\ufeff")))
    return row


def test_numbers_are_bare_and_texts_are_quoted():
    header, row = as_csv(table(case="Müller")).split("\r\n")[:2]
    assert header == (
        '\ufeff"case","role","admission","class","label","volume_ml","predicted_dice","dice_low","dice_high",'
        '"flagged","reasons","remarks","source","label_map","version","weights_sha256"'
    )
    assert row == (
        '"Müller","unlabelled","admitted","spleen",1,12.5,"","","","","","","in","Müller.nii.gz","1.2",'
        '"embedding ab; segmentation cd"'
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", "  =1", "\t=1", '"=1'])
def test_no_name_becomes_a_formula(name):
    row = only_row(case=name)
    assert row["case"].replace("'", "", 1) == name
    for cell in (row["case"], row["label_map"]):
        assert cell.strip(' \t"').startswith("'")


@pytest.mark.parametrize("name", ["a;=1+1", 'a,"=1', "a\t@x"])
def test_nor_where_another_separator_is_usual(name):
    cell = only_row(case=name)["case"]
    assert cell.count("'") == 1 and cell.replace("'", "") == name
    assert "'=" in cell or "'@" in cell


def test_harmless_texts_and_negative_numbers_in_words_stay():
    remarks = ("clipped to -50 to 150", "a = b")
    assert only_row(case="a-b=c", remarks=remarks)["remarks"] == "clipped to -50 to 150; a = b"
    assert only_row(case="a-b=c")["case"] == "a-b=c"


def test_json_holds_the_name_as_it_is(tmp_path):
    files = TableFiles(tmp_path / "r.json", tmp_path / "r.csv")
    files.write(table(case="=1+1"))
    assert json.loads(files.json.read_text(encoding="utf-8"))["rows"][0]["case"] == "=1+1"


def test_written_again_it_is_the_same_and_untouched(tmp_path):
    files = TableFiles(tmp_path / "r.json", tmp_path / "r.csv")
    files.write(table())
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in (files.json, files.csv)]
    files.refuse_foreign("settings")
    files.write(table())
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in (files.json, files.csv)] == before
    files.write(table(volume_ml=13.0))
    assert all(file.read_bytes() != content for file, (content, _) in zip((files.json, files.csv), before, strict=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.csv", "r.json"], "no temporary file"


def test_files_begin_with_their_mark(tmp_path):
    files = TableFiles(tmp_path / "r.json", tmp_path / "r.csv")
    files.write(table())
    assert files.json.read_text(encoding="utf-8").startswith(JSON_START)
    assert files.csv.read_text(encoding="utf-8").startswith(CSV_START)


@pytest.mark.parametrize("content", [b"", JSON_START[:9].encode(), JSON_START.encode() + b" 1"])
def test_an_empty_or_cut_file_of_ours_is_ours(tmp_path, content):
    files = TableFiles(tmp_path / "r.json", tmp_path / "r.csv")
    files.json.write_bytes(content)
    files.refuse_foreign("settings")


@pytest.mark.parametrize(
    ("name", "content"), [("r.json", b'{"mine": 1}'), ("r.csv", b"patient;dice\n"), ("r.csv", b"\xff")]
)
def test_a_file_of_somebody_elses_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match="somebody else's has the name of the table") as caught:
        TableFiles(tmp_path / "r.json", tmp_path / "r.csv").refuse_foreign("settings")
    assert caught.value.file == str(tmp_path / name)


def test_a_folder_of_the_tables_name_is_refused(tmp_path):
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(BundleError, match="somebody else's"):
        TableFiles(tmp_path / "r.json", tmp_path / "r.csv").refuse_foreign("settings")


def test_no_case_beside_it_has_the_tables_name(tmp_path):
    assert TableFiles.beside_label_maps(tmp_path, ["a"]).json == tmp_path / "results.json"
    assert TableFiles.beside_label_maps(tmp_path, ["results", "results_"]).csv == tmp_path / "results__.csv"
