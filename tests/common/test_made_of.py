import logging
import os

import pytest

from scripts.common.files import read_json, sha256_of_file, write_json
from scripts.common.made_of import fingerprint, is_whole, recorded_hash, write_record
from tests.damage import KINDS, damage

INPUTS = fingerprint({"spacing_mm": [2.0, 2.0, 3.0]})
LATER_S = 10


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A record of two files, one in a sub-folder; (record, file)."""
    monkeypatch.setattr(logging.getLogger("scripts.common.made_of"), "disabled", False)
    (tmp_path / "below").mkdir()
    files = [tmp_path / "label.nii.gz", tmp_path / "below" / "more.nii.gz"]
    for file in files:
        file.write_bytes(b"voxels of " + file.name.encode())
    write_record(tmp_path / "case.json", {"case": "a"}, INPUTS, files)
    return tmp_path / "case.json", files[0]


def touch(file, seconds=LATER_S):
    """Let the file's time be `seconds` after now."""
    stat = file.stat()
    os.utime(file, (stat.st_atime + seconds, stat.st_mtime + seconds))


def test_a_record_names_inputs_and_files_beside_its_content(made):
    record, file = made
    content = read_json(record)
    assert content["case"] == "a" and content["inputs"] == INPUTS
    assert list(content["files"]) == ["label.nii.gz", "below/more.nii.gz"]
    assert content["files"]["label.nii.gz"] == {"bytes": 22, "sha256": sha256_of_file(file)}
    assert is_whole(record, INPUTS)


def test_other_inputs_are_not_whole(made):
    assert not is_whole(made[0], fingerprint({"spacing_mm": [2.0, 2.0, 2.5]}))


def test_a_missing_record_is_not_whole_and_nothing_to_warn_of(tmp_path, caplog):
    assert not is_whole(tmp_path / "case.json", INPUTS) and caplog.messages == []


@pytest.mark.parametrize("damage", ["{half", "[]", "{}", '{"inputs": 3}', f'{{"inputs": "{INPUTS}"}}'])
def test_a_damaged_record_is_not_whole(made, damage, caplog):
    made[0].write_text(damage, encoding="utf-8")
    assert not is_whole(made[0], INPUTS)
    assert damage == '{"inputs": 3}' or "case.json is damaged; what it records is made again" in caplog.text


def test_a_record_of_which_a_single_digit_changed_is_not_whole(made, caplog):
    record, file = made
    write_record(record, {"predicted_dice": {"liver": 0.83, 7: 1, 10: None}}, INPUTS, [file])
    assert is_whole(record, INPUTS)
    record.write_text(record.read_text(encoding="utf-8").replace("0.83", "0.93"), encoding="utf-8")
    assert not is_whole(record, INPUTS) and "case.json is damaged" in caplog.text


def test_a_record_of_0_3_0_is_whole_though_it_has_no_hash_of_its_own(made):
    content = read_json(made[0])
    del content["record"]
    write_json(made[0], content)
    assert is_whole(made[0], INPUTS)


def test_a_record_may_name_files_beside_its_folder(tmp_path):
    (tmp_path / "cache" / "a").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    file, record = tmp_path / "images" / "a.nii.gz", tmp_path / "cache" / "a" / "record.json"
    file.write_text("voxels")
    write_record(record, {}, INPUTS, [file])
    assert list(read_json(record)["files"]) == ["../../images/a.nii.gz"] and is_whole(record, INPUTS)
    damage(file, "cut")
    assert not is_whole(record, INPUTS)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_any_kind_is_seen_also_when_the_time_was_set_back(made, kind):
    record, file = made
    damage(file, kind)
    assert not is_whole(record, INPUTS)


@pytest.mark.parametrize("move", [lambda record: record.chmod(0o600), lambda record: os.link(record, f"{record}.2")])
def test_damage_is_seen_also_when_the_record_got_another_entry_since(made, move):
    record, file = made
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    move(record)
    assert not is_whole(record, INPUTS)
    assert recorded_hash(record, file) == sha256_of_file(file)


def test_a_file_that_nobody_touched_is_not_read(made, monkeypatch):
    monkeypatch.setattr("scripts.common.made_of.sha256_of_file", pytest.fail)
    assert is_whole(made[0], INPUTS)


@pytest.mark.parametrize("facts", [None, 3, {}, {"bytes": 22}, {"sha256": "ab"}])
def test_facts_that_say_nothing_are_damage(made, facts):
    record, file = made
    content = read_json(record)
    del content["record"]
    content["files"]["label.nii.gz"] = facts
    write_json(record, content)
    touch(file)
    assert not is_whole(record, INPUTS)


def test_a_missing_file_is_not_whole(made, caplog):
    record, file = made
    file.unlink()
    assert not is_whole(record, INPUTS) and "missing or damaged: label.nii.gz" in caplog.text


def test_a_cut_file_is_not_whole_even_if_its_time_is_the_old_one(made):
    record, file = made
    stat = file.stat()
    file.write_bytes(file.read_bytes()[:-1])
    os.utime(file, (stat.st_atime, stat.st_mtime))
    assert not is_whole(record, INPUTS)


def test_a_file_changed_at_the_same_size_is_not_whole(made):
    record, file = made
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    touch(file)
    assert not is_whole(record, INPUTS)


def test_a_file_that_was_touched_or_copied_but_is_equal_is_whole(made):
    record, file = made
    touch(file)
    assert is_whole(record, INPUTS)


def test_fingerprints_depend_on_values_alone():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_a_recorded_hash_is_read_from_the_record(made):
    record, file = made
    content = read_json(record)
    content["files"]["label.nii.gz"]["sha256"] = "as recorded"
    content["files"]["below/more.nii.gz"]["sha256"] = "below"
    write_json(record, content)
    assert recorded_hash(record, file) == "as recorded"
    assert recorded_hash(record, file.parent / "below" / "more.nii.gz") == "below"


def test_a_file_touched_since_or_that_no_record_names_is_read(made, tmp_path):
    record, file = made
    file.write_bytes(b"corrected by the user!")
    touch(file)
    assert recorded_hash(record, file) == sha256_of_file(file)
    assert recorded_hash(tmp_path / "no.json", file) == sha256_of_file(file)
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "other" / "label.nii.gz"
    elsewhere.write_bytes(b"another label map")
    assert recorded_hash(record, elsewhere) == sha256_of_file(elsewhere)
