import errno

import numpy as np
import pytest

from scripts.common import case_stage
from scripts.common.case_stage import CASES, CaseStage, advance, listening
from scripts.common.errors import BundleError
from scripts.common.files import read_json, read_result, write_nifti
from scripts.common.made_of import fingerprint


class Doubling(CaseStage):
    """Writes twice each case's number."""

    name = "doubling"

    def __init__(self, folder, numbers):
        self.folder, self.numbers = folder, numbers
        self.prepared, self.made = 0, []

    def cases(self):
        return sorted(self.numbers)

    def inputs(self, case):
        return {"number": self.numbers[case]}

    def record(self, case):
        return self.folder / f"{case}.json"

    def prepare(self):
        self.prepared += 1

    def make(self, case):
        file = self.folder / f"{case}.txt"
        file.write_text(str(2 * self.numbers[case]), encoding="utf-8")
        self.made.append(case)
        return {"case": case}, [file]


NUMBERS = {"a": 1, "b": 2, "c": 3}


def run(folder, numbers=NUMBERS, **keys):
    """(names returned, names made, how often it was prepared) of a fresh stage."""
    stage = Doubling(folder, numbers)
    return stage.run(**keys), stage.made, stage.prepared


def test_every_case_is_made_once_and_recorded(tmp_path):
    assert run(tmp_path) == (["a", "b", "c"], ["a", "b", "c"], 1)
    record = read_json(tmp_path / "b.json")
    assert record["case"] == "b" and list(record["files"]) == ["b.txt"] and record["seconds"] >= 0
    assert run(tmp_path) == ([], [], 0), "nothing is prepared where nothing is to do"


def test_only_what_changed_is_made_again(tmp_path):
    run(tmp_path)
    assert run(tmp_path, {**NUMBERS, "b": 5})[0] == ["b"]
    (tmp_path / "c.txt").unlink()
    (tmp_path / "a.json").write_text("{half", encoding="utf-8")
    assert run(tmp_path, {**NUMBERS, "b": 5})[0] == ["a", "c"]


def test_progress_counts_the_cases_that_were_done_before(tmp_path):
    run(tmp_path)
    told = []
    with listening(lambda *step: told.append(step)):
        run(tmp_path, {**NUMBERS, "b": 5})
    assert told == [(CASES, 2, 3), (CASES, 3, 3)]


def test_another_version_makes_all_again_and_the_first_has_the_fingerprint_of_the_inputs_alone(tmp_path):
    run(tmp_path)
    assert read_json(tmp_path / "b.json")["inputs"] == fingerprint({"number": 2})

    class Corrected(Doubling):
        version = 2

    assert Corrected(tmp_path, NUMBERS).run() == ["a", "b", "c"]
    assert Corrected(tmp_path, NUMBERS).run() == []
    assert run(tmp_path)[0] == ["a", "b", "c"]


def test_chosen_cases_alone(tmp_path):
    assert run(tmp_path, case_ids=["c", "a"])[0] == ["c", "a"]
    with pytest.raises(
        BundleError, match=r"\[stage doubling\] unknown case\n  expected: a, b, c\n  found: x"
    ) as caught:
        run(tmp_path, case_ids=["b", "x"])
    assert caught.value.stage == "doubling" and not (tmp_path / "b.json").exists(), "nothing was begun"


@pytest.mark.parametrize(("rank", "share"), [(0, ["a", "c"]), (1, ["b"]), (2, [])])
def test_ranks_share_the_cases(tmp_path, monkeypatch, rank, share):
    monkeypatch.setattr(case_stage, "rank_and_world", lambda: (rank, 2 if rank < 2 else 4))
    numbers = NUMBERS if rank < 2 else {"a": 1, "b": 2}
    assert run(tmp_path, numbers)[0] == share


def test_the_record_comes_last(tmp_path):
    class Watching(Doubling):
        def make(self, case):
            made = super().make(case)
            assert not self.record(case).exists()
            return made

    assert Watching(tmp_path, NUMBERS).run() == ["a", "b", "c"]
    changed = {name: number + 1 for name, number in NUMBERS.items()}
    assert Watching(tmp_path, changed).run() == ["a", "b", "c"], "an older record goes before its files do"


class Failing(Doubling):
    """Raises `errors[case]` once the case's file is written."""

    def __init__(self, folder, numbers, errors):
        super().__init__(folder, numbers)
        self.errors = errors

    def make(self, case):
        made = super().make(case)
        if case in self.errors:
            raise self.errors[case]
        return made


def failure(folder, errors, numbers=NUMBERS):
    """The error that a run ends with, and which cases have a record."""
    with pytest.raises(BundleError) as caught:
        Failing(folder, numbers, errors).run()
    return caught.value, [case for case in numbers if (folder / f"{case}.json").exists()]


def test_a_case_that_fails_leaves_no_record_and_does_not_stop_the_others(tmp_path):
    error, done = failure(tmp_path, {"b": BundleError("no more", found=3)})
    assert str(error) == "[stage doubling, case b] no more\n  found: 3"
    assert done == ["a", "c"]
    assert run(tmp_path)[0] == ["b"], "the next run goes on there"


def test_whatever_a_case_raises_names_stage_and_case(tmp_path):
    error, done = failure(tmp_path, {"b": KeyError("liver")})
    assert (error.stage, error.case, error.found) == ("doubling", "b", "KeyError: 'liver'")
    assert isinstance(error.__cause__, KeyError) and done == ["a", "c"]


def test_several_failures_end_in_one_error(tmp_path):
    errors = {"a": FileNotFoundError(errno.ENOENT, "No such file", "a.nii"), "c": BundleError("no more", found=3)}
    error, done = failure(tmp_path, errors)
    assert str(error).splitlines() == [
        "[stage doubling] 2 of 3 cases failed, the others are done",
        "  expected: a cohort without these cases, or what they lack; the same command then continues",
        "  found: ",
        "    a: a file is missing (No such file, a.nii)",
        "    c: no more (3)",
    ]
    assert done == ["b"]


def test_several_failures_with_one_remedy_name_it(tmp_path):
    errors = {case: BundleError("no more", expected="more of it") for case in ("a", "c")}
    assert failure(tmp_path, errors)[0].expected == "more of it"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device", "b.txt")])
def test_memory_and_disk_stop_the_stage_at_once(tmp_path, error):
    assert failure(tmp_path, {"b": error})[1] == ["a"]


def test_where_the_first_three_fail_the_stage_is_to_blame(tmp_path):
    numbers = {case: 1 for case in "abcde"}
    stage = Failing(tmp_path, numbers, {case: ValueError(case) for case in numbers})
    with pytest.raises(BundleError, match="ValueError: c"):
        stage.run()
    assert stage.made == ["a", "b", "c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes(tmp_path, error):
    with pytest.raises(error):
        Failing(tmp_path, NUMBERS, {"b": error()}).run()
    assert run(tmp_path)[0] == ["b", "c"]


def test_what_is_wrong_before_any_case_is_made_names_stage_and_case(tmp_path):
    class Blind(Doubling):
        def inputs(self, case):
            raise FileNotFoundError(errno.ENOENT, "No such file", f"{case}.nii")

    with pytest.raises(BundleError, match=r"\[stage doubling, case a\] a file is missing\n  file: a.nii"):
        Blind(tmp_path, NUMBERS).run()

    class Unprepared(Doubling):
        def prepare(self):
            raise MemoryError

    with pytest.raises(BundleError, match=r"\[stage doubling\] memory is short"):
        Unprepared(tmp_path, NUMBERS).run()


class Labelling(Doubling):
    """Writes a label map of each case's number."""

    def make(self, case):
        file = self.folder / f"{case}.nii.gz"
        write_nifti(file, np.full((2, 2, 2), self.numbers[case], np.uint8), np.eye(4))
        return {"case": case}, [file]


def test_a_label_map_that_the_user_changed_is_made_again_and_kept(tmp_path):
    Labelling(tmp_path, NUMBERS).run()
    write_nifti(tmp_path / "b.nii.gz", np.full((2, 2, 2), 9, np.uint8), np.eye(4))
    assert Labelling(tmp_path, {**NUMBERS, "a": 4}).run() == ["a", "b"]
    assert read_result(tmp_path / "b.nii.gz")[0].max() == 2
    assert read_result(tmp_path / "set_aside" / "b.nii.gz")[0].max() == 9
    assert not (tmp_path / "set_aside" / "a.nii.gz").exists(), "nobody changed that one"


def test_who_listens_shows_how_far_it_is_and_answers_with_the_whole_run(tmp_path, capsys):
    with listening(lambda unit, done, total: f"{done} of {total} {unit}, 7 min left"), listening(lambda *step: None):
        assert advance(CASES, 1, 2) == "1 of 2 cases, 7 min left"
        run(tmp_path)
    assert capsys.readouterr().err == ""
    assert advance(CASES, 1, 2) == "", "nobody knows"
    run(tmp_path, {**NUMBERS, "b": 5})
    assert "1/1" in capsys.readouterr().err, "a bar of its own"
