"""Tests that are marked `unit` are many, and small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.units import NO_UNITS, is_unit

LEAST_UNITS = 300


@pytest.fixture(scope="module")
def units() -> list[str]:
    """Names of the tests that `make test ARGS="-m unit"` runs."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "unit", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_there_are_several_hundred_units_of_most_packages(units):
    assert len(units) > LEAST_UNITS
    folders = {name.split("/")[1] for name in units}
    assert {"common", "data", "networks", "points", "embedding", "quality", "registration"} <= folders
    assert {"point_propagation", "pseudo_labels", "segmentation", "label_propagation"} <= folders


@pytest.mark.slow
def test_no_unit_starts_processes_or_reads_the_repository(units):
    assert [name for name in units if name.startswith(NO_UNITS)] == []


@pytest.mark.parametrize(
    ("fixtures", "slow", "module", "unit"),
    [
        ((), False, "tests/points/test_a.py", True),
        (("make_affine",), False, "tests/points/test_a.py", True),
        (("cohort", "tmp_path_factory"), False, "tests/points/test_a.py", False),
        ((), True, "tests/points/test_a.py", False),
        ((), False, "tests/repository/test_a.py", False),
        ((), False, "tests/data/test_real_data.py", False),
        ((), False, "tests/data/test_cohort.py", True),
    ],
)
def test_place_marks_and_fixtures_decide(fixtures, slow, module, unit, pytestconfig):
    class Item:
        path = ROOT / module
        config = pytestconfig
        fixturenames = fixtures

        def get_closest_marker(self, name):
            return "slow" if slow and name == "slow" else None

    assert is_unit(Item()) == unit
