"""Which tests count as `unit`: `make test ARGS="-m unit"`."""

from __future__ import annotations

import pytest

# Folders and modules of tests that start processes, read what the repository holds, or need real CT.
NO_UNITS = (
    *("tests/end_to_end", "tests/packaging", "tests/repository", "tests/monai_label/test_server.py"),
    *("tests/monai_label/test_real_round.py", "tests/monai_label/test_unloading.py", "tests/data/test_real_data.py"),
)
WRITING_FIXTURES = {"tmp_path", "tmp_path_factory"}  # all others that write take one of these


def is_unit(item: pytest.Item) -> bool:
    """Whether a test is small, as its place, its marks and all the fixtures it needs, directly or not, say."""
    place = item.path.relative_to(item.config.rootpath)
    apart = any(place.is_relative_to(name) for name in NO_UNITS)
    writes = WRITING_FIXTURES & set(getattr(item, "fixturenames", ()))
    return not apart and not writes and item.get_closest_marker("slow") is None
