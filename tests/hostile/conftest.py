from __future__ import annotations

import pytest

from tests.hostile import payload


@pytest.fixture(autouse=True)
def _nothing_ran():
    payload.RAN.clear()
    yield
    assert payload.RAN == [], "a planted text was evaluated"
