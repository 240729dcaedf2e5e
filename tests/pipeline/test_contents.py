from scripts.common.files import write_json
from scripts.common.made_of import content_mark


def test_values_stand_for_themselves():
    assert content_mark({"a": [1, ("x", None)]}) == {"a": [1, ["x", None]]}


def test_a_file_stands_for_its_bytes_and_a_record_for_what_it_says_of_its_result(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    assert content_mark(tmp_path / "a") == content_mark(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"two")
    assert content_mark(tmp_path / "a") != content_mark(tmp_path / "b")
    write_json(tmp_path / "case.json", {"dice": 0.5, "seconds": 3, "inputs": "x", "files": {}})
    assert content_mark(tmp_path / "case.json") == {"dice": 0.5}


def test_a_folder_stands_for_its_files_but_half_written_ones(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.nii.gz").write_bytes(b"one")
    (tmp_path / "labels" / ".writing-1-b.nii.gz").write_bytes(b"tw")
    write_json(tmp_path / "labels" / "a.json", {"classes": {}, "seconds": 3})
    assert content_mark(tmp_path / "labels") == {
        "a.json": {"classes": {}},
        "a.nii.gz": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    }


def test_what_is_not_there_is_nothing(tmp_path):
    assert content_mark({"checks": tmp_path / "nowhere"}) == {"checks": None}
