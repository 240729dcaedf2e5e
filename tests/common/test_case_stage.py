import pytest

from scripts.common import case_stage
from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import read_json


class Doubling(CaseStage):
    """Writes twice each case's number; `failing` names a case whose second file never comes."""

    name = "doubling"

    def __init__(self, folder, numbers, failing=None):
        self.folder, self.numbers, self.failing = folder, numbers, failing
        self.prepared, self.made = [], []

    def cases(self):
        return sorted(self.numbers)

    def inputs(self, case):
        return {"number": self.numbers[case]}

    def record(self, case):
        return self.folder / f"{case}.json"

    def prepare(self, todo):
        self.prepared.append(list(todo))

    def make(self, case):
        file = self.folder / f"{case}.txt"
        file.write_text(str(2 * self.numbers[case]), encoding="utf-8")
        if case == self.failing:
            raise BundleError("no more", case=case)
        self.made.append(case)
        return {"case": case}, [file]


NUMBERS = {"a": 1, "b": 2, "c": 3}


def run(folder, numbers=NUMBERS, **keys):
    """(names returned, names made, what was prepared) of a fresh stage."""
    stage = Doubling(folder, numbers)
    return stage.run(**keys), stage.made, stage.prepared


def test_every_case_is_made_once_and_recorded(tmp_path):
    assert run(tmp_path) == (["a", "b", "c"], ["a", "b", "c"], [["a", "b", "c"]])
    record = read_json(tmp_path / "b.json")
    assert record["case"] == "b" and list(record["files"]) == ["b.txt"] and record["seconds"] >= 0
    assert run(tmp_path) == ([], [], []), "nothing is prepared where nothing is to do"


def test_only_what_changed_is_made_again(tmp_path):
    run(tmp_path)
    assert run(tmp_path, {**NUMBERS, "b": 5})[0] == ["b"]
    (tmp_path / "c.txt").unlink()
    (tmp_path / "a.json").write_text("{half", encoding="utf-8")
    assert run(tmp_path, {**NUMBERS, "b": 5})[0] == ["a", "c"]


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


def test_a_case_that_fails_leaves_no_record_and_the_next_run_goes_on_there(tmp_path):
    with pytest.raises(BundleError, match="no more"):
        Doubling(tmp_path, NUMBERS, failing="b").run()
    assert [(tmp_path / f"{case}.json").exists() for case in NUMBERS] == [True, False, False]
    assert run(tmp_path)[0] == ["b", "c"]
