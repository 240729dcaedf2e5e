"""niivue as it was published: its hash, its version, its licences."""

from __future__ import annotations

import json

from bundle.report.browser.page_frame import SCRIPT_NAMES, VIEWER_FILE, page_script
from scripts.common.files import sha256_of_file

FOLDER = VIEWER_FILE.parent


def test_niivue_is_the_file_that_was_published():
    card = json.loads((FOLDER / "niivue.json").read_text(encoding="utf-8"))
    assert sha256_of_file(VIEWER_FILE) == card["sha256"]
    assert (card["package"], card["version"], card["licence"]) == ("@niivue/niivue", "0.69.0", "BSD-2-Clause")
    assert VIEWER_FILE.stat().st_size < 2_500_000


def test_its_licence_and_those_of_what_it_holds_are_beside_it():
    text = (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    assert "@niivue/niivue 0.69.0" in text and "BSD 2-Clause License" in text and "Copyright (c) 2021, Niivue" in text
    for package in ("gl-matrix", "fflate", "nifti-reader-js", "array-equal", "zarrita", "numcodecs"):
        assert f"\n{package} " in text, package


def test_scripts_can_be_within_a_page():
    for text in (VIEWER_FILE.read_text(encoding="utf-8"), page_script()):
        assert "</script" not in text and "<!--" not in text and "]]>" not in text
    assert all((FOLDER.parent / name).is_file() for name in SCRIPT_NAMES)
    assert {file.name for file in FOLDER.parent.glob("*.js")} == set(SCRIPT_NAMES)
