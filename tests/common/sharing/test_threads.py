"""Parts of a case by several threads."""

import threading

import pytest
import torch

from scripts.common.sharing import threads
from scripts.common.sharing.threads import in_threads


@pytest.fixture
def allowed(monkeypatch):
    """`allowed(n)`: the process may use n threads."""
    return lambda count: monkeypatch.setattr(threads, "allowed_threads", lambda: count)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_results_come_in_the_order_of_the_parts(allowed, count):
    allowed(count)
    assert in_threads(lambda part: part * 10, range(7)) == [0, 10, 20, 30, 40, 50, 60]
    assert in_threads(lambda part: part, []) == []


def test_two_parts_are_made_at_once_and_torch_has_one_thread_in_each(allowed):
    allowed(2)
    both_there = threading.Barrier(2, timeout=30)

    def make(_):
        both_there.wait()
        return threading.get_ident(), torch.get_num_threads()

    before = torch.get_num_threads()
    (one, threads_of_one), (other, threads_of_other) = in_threads(make, "ab")
    assert one != other and threads_of_one == threads_of_other == 1
    assert torch.get_num_threads() == before


def test_a_process_of_one_thread_makes_them_by_itself(allowed):
    allowed(1)
    assert in_threads(lambda _: threading.get_ident(), "ab") == [threading.get_ident()] * 2


def test_what_goes_wrong_in_a_part_is_raised(allowed):
    allowed(2)
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [1, 0])
