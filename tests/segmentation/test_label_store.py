import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.segmentation.label_store import LabelStore

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])


def label(value):
    return np.full((4, 5, 6), value, np.uint8)


def write_round(store, epoch, cases=("a", "b")):
    for case in cases:
        store.write(epoch, case, label(epoch), AFFINE)
    store.finish(epoch, list(cases))


def test_newest_whole_round_is_read(tmp_path):
    store = LabelStore(tmp_path / "labels")
    assert store.read("a") is None
    write_round(store, 1)
    write_round(store, 3)
    assert store.rounds() == [1, 3]
    assert np.array_equal(store.read("a"), label(3))
    assert store.read("unknown") is None


def test_kill_in_the_middle_of_a_round_leaves_the_one_before(tmp_path):
    store = LabelStore(tmp_path)
    write_round(store, 1)
    store.write(2, "a", label(2), AFFINE)  # killed here: no manifest
    assert store.rounds() == [1]
    assert np.array_equal(store.read("a"), label(1))
    store.rollback(2)
    assert not (tmp_path / "round_002").exists()
    assert np.array_equal(store.read("b"), label(1))


def test_rollback_forgets_later_rounds(tmp_path):
    store = LabelStore(tmp_path)
    for epoch in (1, 2, 3):
        write_round(store, epoch)
    store.rollback(2)
    assert store.rounds() == [1, 2]
    store.rollback(0)
    assert store.rounds() == []
    assert store.read("a") is None


def test_prune_keeps_what_a_kept_checkpoint_needs(tmp_path):
    store = LabelStore(tmp_path)
    for epoch in (2, 4, 6):
        write_round(store, epoch)
    store.prune(5)  # a checkpoint of epoch 5 uses round 4
    assert store.rounds() == [4, 6]
    store.prune(1)
    assert store.rounds() == [4, 6]


def test_a_half_removed_round_does_not_count(tmp_path, monkeypatch):
    store = LabelStore(tmp_path)
    write_round(store, 1)
    write_round(store, 2)
    monkeypatch.setattr("scripts.segmentation.label_store.shutil.rmtree", lambda *args, **kwargs: None)  # killed before
    store.rollback(1)
    assert store.rounds() == [1]


def test_damaged_label_is_named(tmp_path):
    store = LabelStore(tmp_path)
    write_round(store, 1)
    path = tmp_path / "round_001" / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BundleError, match=r"(?s)corrected labels cannot be read.*round_001") as error:
        store.read("a")
    assert error.value.case == "a"
