"""The page in a browser, opened from a disk: table, ticks, viewer, phone, print, hostile names, no network."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.pipeline.given.named_cases import parse_accepted
from bundle.report.page import write_report
from bundle.suggest.page import write_page
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from tests.quality.checks import check_record, class_check
from tests.report.browser import DESKTOP, PHONE, Page, needs_chromium, opened_browser
from tests.report.runs import CASES, CLASSES, LPS, SIZE, build_run, build_support_mask_alone, cohort, label_map, save

pytestmark = [needs_chromium, pytest.mark.slow]

HOSTILE = "<script><b onmouseover=alert(1)>" + 160 * "x"  # of a case: a name has no /
HOSTILE_CLASS = "a</script><b>&'" + 80 * "x"
TOO_WIDE = """[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => e.tagName + '.' + e.className).slice(0, 12)"""  # for the message
CANVAS_BOX = "document.querySelector('canvas').getBoundingClientRect()"
VIEWER_READY = "document.querySelector('.place')?.textContent"


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Path:
    """The page of a run with a self-check."""
    out = build_run(tmp_path_factory.mktemp("browser") / "out")
    write_json(out / "run.json", {"mode": "default"})
    low = class_check(predicted_dice=0.31, interval=(0.2, 0.5), flagged=True, reasons=("=found elsewhere",))
    for case, spleen in zip(CASES[1:], (class_check(predicted_dice=0.7), low, class_check()), strict=True):
        record = check_record(case, {"spleen": spleen, "left_kidney": class_check()})
        write_json(out / "self_check" / f"{case}.json", record.to_json())
    return write_report(out, alone="case_1").with_name("index.html")


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Page]:
    """One browser for all tests of this file."""
    with opened_browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, report) -> Page:
    """The report, just opened; no ticks are left from before."""
    browser.open(report)
    browser.run("localStorage.clear()")
    browser.open(report)
    browser.problems.clear()
    return browser


def rows_shown(page: Page) -> list[list[str]]:
    """Case, organ, volume, predicted Dice, from, to, flagged, why, of each line."""
    script = "[...document.querySelectorAll('#results-table > tbody > tr:not(.panel-row)')]"
    cells = "[...row.children].map((cell) => cell.innerText.trim())"
    return page.run(f"{script}.map((row) => {cells})")


def open_case(page: Page, case: str) -> None:
    page.run(f"[...document.querySelectorAll('button.case')].find((b) => b.textContent === {case!r}).click()")


def choose(page: Page, title: str, value: str) -> None:
    """An entry of one of the viewer's lists."""
    find = f"[...document.querySelectorAll('.viewer-tools label')].find((l) => l.textContent.startsWith({title!r}))"
    page.run(
        f"(() => {{ const list = {find}.querySelector('select'); list.value = {value!r};"
        "list.dispatchEvent(new Event('change')); })()"
    )


def set_field(page: Page, name: str, value: str, event: str = "input") -> None:
    page.run(
        f"(() => {{ const field = document.getElementById({name!r}); field.value = {value!r};"
        f"field.dispatchEvent(new Event({event!r})); }})()"
    )


def saved(folder: Path, name: str) -> Path:
    """A file that the page saved."""
    until = time.monotonic() + 20
    while not (folder / name).exists():
        assert time.monotonic() < until, f"{name} was not saved"
        time.sleep(0.05)
    return folder / name


def test_the_table_shows_the_worst_case_first_and_sorts(page):
    rows = rows_shown(page)
    assert rows[0][0] == "case_2" and len(rows) == 2 * len(CASES) + 2, "whole volume of case_2, and what was left out"
    spleen = next(row for row in rows if row[:2] == ["case_2", "spleen"])
    assert spleen[2:] == ["5.2", "0.31", "0.20", "0.50", "flagged", "=found elsewhere"]
    page.run("document.querySelector('[data-column=dice] button').click()")
    dice = [row[3] for row in rows_shown(page)]
    assert dice[:2] == ["0.31", "0.70"] and dice[-1] == "", "what is not known comes last"
    page.run("document.querySelector('[data-column=dice] button').click()")
    assert [row[3] for row in rows_shown(page)][:2] == ["0.90", "0.90"] and rows_shown(page)[-1][3] == ""
    assert page.run("document.querySelector('[data-column=dice]').getAttribute('aria-sort')") == "descending"
    page.run("document.getElementById('worst-first').click()")
    assert rows_shown(page) == rows
    assert page.problems == []


def test_the_table_is_filtered_by_text_organ_and_flag(page):
    set_field(page, "filter-text", "CASE_2 spleen")
    assert [row[:2] for row in rows_shown(page)] == [["case_2", "spleen"]]
    assert page.run("document.getElementById('shown').textContent") == "1 of 10 lines, 1 of 5 cases."
    set_field(page, "filter-text", "")
    set_field(page, "filter-class", "1", "change")
    assert {row[1] for row in rows_shown(page)} == {"left kidney"} and len(rows_shown(page)) == len(CASES)
    set_field(page, "filter-class", "", "change")
    page.run("document.getElementById('filter-flagged').click()")
    assert {row[6] for row in rows_shown(page)} == {"flagged"} and len(rows_shown(page)) == 3


def test_what_is_shown_is_saved_as_csv_without_formulas(page, tmp_path):
    page.download_to(tmp_path)
    set_field(page, "filter-text", "case_2 spleen")
    page.run("document.getElementById('save-csv').click()")
    text = saved(tmp_path, "results.csv").read_bytes().decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["case"] == "case_2" and row["class"] == "spleen" and float(row["predicted_dice"]) == 0.31
    assert row["reasons"] == "'=found elsewhere" and row["flagged"] == "true" and row["tick"] == ""
    assert float(row["dice_low"]) == 0.2 and float(row["volume_ml"]) == pytest.approx(5.184)


def test_ticks_are_kept_and_saved_as_the_list_that_accepted_reads(page, report, tmp_path):
    page.download_to(tmp_path)
    open_case(page, "case_1")
    page.wait_for("document.querySelector('#panel [data-tick]')")
    page.press("a")
    open_case(page, "case & <3>")
    page.press("a")
    open_case(page, "case_2")
    page.press("c")
    assert page.run("document.getElementById('ticked').textContent") == "Right as they are: 2. To correct: 1."
    page.open(report)
    assert page.run("document.getElementById('ticked').textContent") == "Right as they are: 2. To correct: 1."
    marks = {row[0] for row in rows_shown(page)}
    assert {"case_1 ✓", "case_2 ✎"} <= marks and "case_0 support" in {" ".join(mark.split()) for mark in marks}
    page.run("document.getElementById('save-accepted').click()")
    assert parse_accepted(str(saved(tmp_path, "accepted.txt"))) == ("case & <3>", "case_1")
    open_case(page, "case_0")
    assert page.run("document.querySelector('#panel [data-tick]')") is None, "the support is accepted as it is"


def test_an_accepted_case_can_be_taken_back_and_is_accepted_again(page, report, tmp_path):
    run = report.parents[1]
    write_json(run / "run.json", {"mode": "default", "accepted": ["case_1", "case_2"]})
    told = "document.getElementById('ticked').textContent"
    try:
        page.open(write_report(run))
        page.download_to(tmp_path)
        open_case(page, "case_1")
        pressed = "[...document.querySelectorAll('#panel [data-tick]')].map((b) => b.getAttribute('aria-pressed'))"
        assert page.run(pressed) == ["true", "false"]
        page.press("a")
        assert page.run(pressed) == ["false", "false"]
        page.open(report)
        assert page.run(told) == "Right as they are: 1. To correct: 0."
        page.run("document.getElementById('save-accepted').click()")
        assert parse_accepted(str(saved(tmp_path, "accepted.txt"))) == ("case_2",)
        open_case(page, "case_2")
        page.press("c")
        page.press("c")
        assert page.run(told) == "Right as they are: 0. To correct: 0."
        page.press("a")
        assert page.run(told) == "Right as they are: 1. To correct: 0."
    finally:
        write_json(run / "run.json", {"mode": "default"})
        write_report(run)


def test_a_tick_is_dropped_when_its_label_map_changes(page, report):
    run = report.parents[1]
    open_case(page, "case_1")
    page.press("a")
    label = WorkFolder(run).predictions.label("case_1")
    before = label.read_bytes()
    try:
        save(label.parent, label_map(shift=1), "case_1")
        page.open(write_report(run))
        assert page.run("document.getElementById('ticked').textContent").startswith("Right as they are: 0.")
    finally:
        label.write_bytes(before)
        write_report(run)


def test_the_viewer_shows_scrolls_and_asks_for_nothing_from_elsewhere(page, report):
    page.requested.clear()
    open_case(page, "case_2")
    page.wait_for(VIEWER_READY)
    top, bottom = page.run(f"[document.getElementById('panel').getBoundingClientRect().top, {CANVAS_BOX}.bottom]")
    assert top >= 0 and bottom <= DESKTOP[1], "all of it is in sight"
    assert page.run(VIEWER_READY).endswith(", spleen"), "at the middle of the organ that was pressed, or the first"
    rows = [row[0] for row in rows_shown(page)]
    assert [n for n, case in enumerate(rows) if case == "case_2"] == [0, 1, 2], "above their panel"
    z_before = re.search(r"([SI]) (\d+) mm", page.run(VIEWER_READY)).groups()
    page.press("ArrowUp")
    page.wait_for(f"!document.querySelector('.place').textContent.includes('{z_before[0]} {z_before[1]} mm')")
    told = page.run(VIEWER_READY)
    page.run("document.querySelector('canvas').scrollIntoView({ block: 'center' })")
    x, y = page.run(f"(({{x, y, width, height}}) => [x + width / 8, y + height / 2])({CANVAS_BOX})")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=120)
    page.wait_for(f"document.querySelector('.place').textContent !== {told!r}")
    assert page.run("document.querySelector('.slice').max") == str(SIZE - 1)
    options = page.run("[...document.querySelectorAll('.viewer-tools option')].map((o) => o.textContent)")
    assert {"axial", "3-D", "lung", "brain", "final label", "transferred label", "none"} <= set(options)
    for title, value in (
        ("View", "3d"),
        ("Window", "bone"),
        ("Label", "transferred label"),
        ("Label", ""),
        ("View", "three"),
    ):
        choose(page, title, value)
    assert page.problems == []
    local = report.parent.as_uri()
    assert [url for url in page.requested if not url.startswith((local, "data:", "blob:"))] == []


def test_who_goes_on_quickly_gets_the_last_case(page):
    open_case(page, "case_2")
    for key in ("n", "n", "p"):
        page.press(key)
    assert page.run("document.querySelector('#panel strong').textContent") == "case_1"
    page.wait_for(VIEWER_READY)
    time.sleep(1)
    assert page.run("document.querySelectorAll('canvas').length") == 1 and page.problems == []
    page.press("Escape")
    assert page.run("document.getElementById('panel')") is None


def test_the_viewer_draws_image_and_label(page, tmp_path):
    open_case(page, "case_1")
    page.wait_for(VIEWER_READY)
    choose(page, "View", "axial")
    pixels = "document.querySelector('canvas').toDataURL().length"  # of a blank canvas: a few thousand
    shown = "new Promise((done) => requestAnimationFrame(() => done(%s)))"
    page.run("document.querySelector('.stage').scrollIntoView()")
    page.picture(tmp_path / "label.png")
    choose(page, "Label", "")
    page.run(shown % pixels)
    page.picture(tmp_path / "plain.png")
    with_label, plain = colourfulness(tmp_path / "label.png"), colourfulness(tmp_path / "plain.png")
    assert with_label > 2000 and plain < with_label / 4


def colourfulness(file: Path) -> int:
    """How many pixels of the middle of a picture are neither grey nor nearly so."""
    from PIL import Image

    picture = np.asarray(Image.open(file).convert("RGB"), dtype=int)[200:700, 200:1000]
    return int((picture.max(axis=2) - picture.min(axis=2) > 40).sum())


def test_a_page_of_one_case_needs_no_other_file(browser, report, tmp_path):
    alone = tmp_path / "case_1.html"
    alone.write_bytes((report.parent / "case_case_1.html").read_bytes())
    browser.problems.clear()
    browser.open(alone)
    browser.requested.clear()
    browser.wait_for(VIEWER_READY)
    assert [row[0] for row in rows_shown(browser)] == ["case_1"] * 2
    assert browser.run("getComputedStyle(document.querySelector('.filters')).display") == "none"
    assert [url for url in browser.requested if not url.startswith("data:")] == [] and browser.problems == []


@pytest.mark.parametrize("opened", [False, True])
def test_nothing_runs_off_a_phone(browser, report, opened):
    browser.open(report, PHONE)
    if opened:
        open_case(browser, "case_1")
        browser.wait_for(VIEWER_READY)
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        browser.wait_for("document.querySelectorAll('.tile').length > 12")
    assert browser.run("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_long_command_makes_the_page_of_suggested_volumes_no_wider(browser, report, tmp_path, size):
    command = f"python -m bundle oneshot --images {'/a_long_folder' * 20} --support CASE --weights abdomen_ct"
    volumes = replace(load_cohort(report.parent.parent), rejected={})
    write_page(tmp_path / "index.html", volumes, [], command)
    browser.open(tmp_path / "index.html", size)
    assert browser.run("document.querySelector('pre').textContent") == command
    assert browser.run("document.documentElement.scrollWidth") <= size[0], browser.run(TOO_WIDE)


def test_the_support_mask_alone_is_shown_at_once(browser, tmp_path):
    browser.problems.clear()
    browser.open(write_report(build_support_mask_alone(tmp_path / "out")))
    browser.wait_for("document.querySelectorAll('#support .tile').length === 9")
    assert [row[0].split()[0] for row in rows_shown(browser)] == ["case_2", "case_0", "bad"]
    assert browser.problems == []


def test_how_cases_are_accepted_is_told_in_the_words_of_the_buttons(page):
    open_case(page, "case_2")
    page.wait_for("document.querySelector('#panel [data-tick]')")
    words = page.run("[...document.querySelectorAll('#panel [data-tick]')].map((button) => button.textContent)")
    told = page.run("document.querySelector('#results').textContent")
    assert words and all(f"“{one}”" in told for one in words) and "Tick" not in told


def test_print_has_the_open_cases_pictures_instead_of_the_viewer(page, tmp_path):
    open_case(page, "case_1")
    page.wait_for(VIEWER_READY)
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        hidden = "getComputedStyle(document.querySelector('{}')).display"
        for css in (".viewer-place", "nav", ".filters", ".tick-buttons"):
            assert page.run(hidden.format(css)) == "none", css
        page.as_pdf(tmp_path / "printed.pdf")
        assert page.run("[...document.querySelectorAll('.pictures')].every((one) => one.open)")
        assert (tmp_path / "printed.pdf").read_bytes().startswith(b"%PDF")
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_without_webgl2_the_pictures_say_it_all(browser, report):
    off = "HTMLCanvasElement.prototype.getContext = () => null"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=off)["identifier"]
    try:
        browser.open(report)
        open_case(browser, "case_1")
        browser.wait_for("document.querySelector('.viewer-place .warning')")
        told = browser.run("document.querySelector('.viewer-place').textContent")
        assert told.startswith("This browser has no WebGL2") and told.endswith("The pictures below show the same.")
        assert browser.run("document.querySelector('.pictures').open")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_names_that_are_markup_stay_names(browser, tmp_path):
    out = build_run(tmp_path / "out")
    work = WorkFolder(out)
    image = np.random.default_rng(0).integers(-200, 300, (SIZE,) * 3).astype(np.int16)
    for folder, array in ((out / "images", image), (work.predictions.path, label_map())):
        nib.save(nib.Nifti1Image(array, LPS, dtype=array.dtype), folder / f"{HOSTILE}.nii.gz")
    content = cohort(out, classes={HOSTILE_CLASS: 1, **{name: n for name, n in CLASSES.items() if n > 1}})
    entry = dict(content["cases"]["case_2"], id=HOSTILE, image=str(out / "images" / f"{HOSTILE}.nii.gz"))
    content["cases"][HOSTILE] = entry
    content["warnings"][HOSTILE] = ["<img src=x onerror=alert(1)>"]
    write_json(work.cohort, content)
    browser.problems.clear()
    page = write_report(out)
    browser.open(page)
    shown = rows_shown(browser)
    assert [HOSTILE, HOSTILE_CLASS] in [row[:2] for row in shown]
    assert "<img src=x onerror=alert(1)>" in [row[7] for row in shown]
    open_case(browser, HOSTILE)
    browser.wait_for(VIEWER_READY)
    assert browser.run("document.querySelectorAll('main b, main img[src=x]').length") == 0
    assert browser.run("document.documentElement.scrollWidth") <= DESKTOP[0], browser.run(TOO_WIDE)
    browser.open(page, PHONE)
    open_case(browser, HOSTILE)
    browser.wait_for(VIEWER_READY)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("document.documentElement.scrollWidth") == PHONE[0], browser.run(TOO_WIDE)
    assert browser.problems == []
