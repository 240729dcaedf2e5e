"""Finished runs, to be read or to be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle.report.page import write_report
from tests.report.runs import add_training, build_run


@pytest.fixture
def output(tmp_path) -> Path:
    """A finished run that a test may damage, without training curves."""
    return build_run(tmp_path / "out")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The page of a whole run, for tests that only read it."""
    out = build_run(tmp_path_factory.mktemp("finished") / "out")
    add_training(out)
    return write_report(out)
