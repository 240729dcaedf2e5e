import pytest

from bundle.results.files import TableFiles
from bundle.results.table import CaseFacts, ResultTable, case_rows, left_out_row
from bundle.results.table_reader import LabelMapRow, label_map_rows, rows_if_whole, table_of
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json


@pytest.fixture
def files(tmp_path):
    """The table of one label map and of one volume that was left out."""
    facts = CaseFacts("results", "unlabelled", str(tmp_path / "in"), "results.nii.gz", (), {"spleen": 12.5})
    rows = (*case_rows(facts, {"spleen": 3}), left_out_row("bad", {"reason": "it is empty"}))
    (tmp_path / "results.nii.gz").touch()
    files = TableFiles.beside_label_maps(tmp_path, ["results", "bad"])
    files.write(ResultTable("1.2", {}, rows))
    return files


def test_rows_of_label_maps_come_back_from_the_table_beside_them(files, tmp_path):
    """The case is called as the table usually is."""
    assert table_of(tmp_path) == files.json == tmp_path / "results_.json"
    row = LabelMapRow("results", "spleen", 3, tmp_path / "in", tmp_path / "results.nii.gz")
    assert label_map_rows(files.json) == rows_if_whole(files.json) == [row]


def test_without_a_table_there_are_no_rows(tmp_path):
    assert label_map_rows(table_of(tmp_path)) == rows_if_whole(table_of(tmp_path)) == []


def test_names_that_no_case_may_have_are_passed_over(files):
    content = read_json(files.json)
    content["rows"][0]["case"] = "../elsewhere"
    write_json(files.json, content)
    assert label_map_rows(files.json) == []


@pytest.mark.parametrize("change", [{"label": "three"}, {"source": None}, {"label_map": 5}])
def test_a_damaged_table_is_named_or_has_no_rows(files, change):
    content = read_json(files.json)
    content["rows"][0] |= change
    write_json(files.json, content)
    with pytest.raises(BundleError, match="the table of results is damaged") as caught:
        label_map_rows(files.json)
    assert caught.value.file == str(files.json)
    assert rows_if_whole(files.json) == []
