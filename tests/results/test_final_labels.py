"""Which label maps of a run count: the final ones only while they are of the present pseudo labels."""

import os

import pytest

from bundle.results.final_labels import has_final_labels, is_support_mask_newer, note_final_labels
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder


def made(folder, case, inputs):
    """A label map with its record."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.label(case).write_bytes(b"label")
    write_record(folder.record(case), {}, inputs, [folder.label(case)])


@pytest.fixture
def work(tmp_path):
    """A run of two cases with final label maps, which noted nothing yet."""
    work = WorkFolder(tmp_path)
    for case in ("a", "b"):
        made(work.pseudo_labels, case, "first")
        made(work.predictions, case, "first")
    made(work.support_mask, "a", "first")
    return work


def test_final_labels_count_until_pseudo_labels_change(work):
    note_final_labels(work)
    made(work.pseudo_labels, "b", "first")
    assert has_final_labels(work), "a damaged one was made again of the same"
    made(work.pseudo_labels, "b", "second")
    assert not has_final_labels(work)
    note_final_labels(work)
    assert has_final_labels(work)


def test_a_case_without_final_label_or_no_final_label_at_all(work):
    note_final_labels(work)
    made(work.pseudo_labels, "c", "first")
    assert not has_final_labels(work)
    for case in ("a", "b"):
        work.predictions.label(case).unlink()
    note_final_labels(work)
    assert not has_final_labels(work)


def test_times_decide_where_nothing_was_noted(work):
    records = [work.pseudo_labels.record("b"), work.predictions.record("b")]
    for record, seconds in zip(records, (1000, 2000), strict=True):
        os.utime(record, (seconds, seconds))
    assert has_final_labels(work)
    os.utime(records[0], (3000, 3000))
    assert not has_final_labels(work)
    records[1].unlink()
    assert has_final_labels(work), "without a record there is nothing to tell it by"
    work.predictions.label("b").unlink()
    assert not has_final_labels(work), "the run was killed before it made all"


def test_a_support_mask_that_grew_anew_is_known(work):
    assert not is_support_mask_newer(work), "nothing was noted"
    note_final_labels(work)
    assert not is_support_mask_newer(work)
    made(work.support_mask, "a", "second")
    assert is_support_mask_newer(work)
