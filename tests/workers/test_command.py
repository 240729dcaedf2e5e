import subprocess
import sys

import pytest

from bundle.arguments import command_parser
from bundle.workers.command import workers_at_work, workers_of
from scripts.common.errors import BundleError
from scripts.common.sharing.crew import present_crew
from tests.paths import ROOT

INFER = ["infer", "--images", "a", "--model", "b", "--output", "c"]


def parsed(*more):
    return command_parser().parse_args([*INFER, *more])


def test_one_process_unless_asked_and_dask_is_not_imported():
    options = parsed()
    assert (options.workers, options.scheduler, options.worker_memory) == (1, None, None)
    with workers_of(options):
        assert present_crew() is None
    code = (
        "import sys; import bundle.pipeline.pipeline, bundle.command_line; "
        "from bundle.workers.command import workers_of; print('distributed' in sys.modules or 'dask' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_workers_are_there_meanwhile_and_none_starts_before_there_is_work():
    with workers_of(parsed("--workers", "2", "--worker-memory", "3")):
        crew = present_crew()
        assert (crew.count, crew.memory_gib, crew.scheduler, crew._cluster) == (2, 3.0, None, None)
    with workers_of(parsed("--workers", "2")):
        assert present_crew().memory_gib == 4.0
    assert present_crew() is None


@pytest.mark.parametrize("chosen", [[], ["--workers", "1"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_memory_of_a_worker_without_workers_of_this_machine_is_refused(chosen):
    with pytest.raises(BundleError, match="--worker-memory is of no use without --workers"):
        workers_of(parsed("--worker-memory", "3", *chosen))


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5"])
def test_a_number_of_workers_is_whole_and_positive(text, capsys):
    with pytest.raises(SystemExit):
        parsed("--workers", text)
    assert "a number from 1, or auto" in capsys.readouterr().err


def test_workers_here_or_those_of_a_scheduler(capsys):
    with pytest.raises(SystemExit):
        parsed("--workers", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("memory_gib", [0.1, -1.0, 0.0, float("nan"), float("inf"), 1e300])
def test_memory_that_no_worker_can_have_is_refused(memory_gib):
    with (
        pytest.raises(BundleError, match="a worker cannot have this memory"),
        workers_at_work(2, memory_gib, None, "cpu"),
    ):
        pytest.fail("it has none")


def test_auto_is_one_process_where_there_is_no_room_for_more(monkeypatch):
    monkeypatch.setattr("bundle.workers.capacity.affordable_workers", lambda memory_gib, device: 1)
    with workers_at_work("auto", 4.0, None, None):
        assert present_crew() is None
    monkeypatch.setattr("bundle.workers.capacity.affordable_workers", lambda memory_gib, device: 3)
    with workers_at_work("auto", 4.0, None, None):
        assert present_crew().count == 3
