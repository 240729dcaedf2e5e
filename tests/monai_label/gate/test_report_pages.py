"""The report of the last round, as pages of the server."""

from types import SimpleNamespace

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from fastapi import HTTPException

from bundle.monai_label.gate import report_pages
from bundle.monai_label.results import Handed, HandedNow
from scripts.common.errors import BundleError

HERE = f"<p>{report_pages.HERE}</p>\n"
PAGE = "<body><header><h1>Report</h1>\n</header>\n<p>abd_01</p><header></header></body>"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A report, and the studies whose image is a former one."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "cohort.json").write_text("{}", encoding="utf-8")
    former = []
    handed = SimpleNamespace(former=lambda: former)
    training = SimpleNamespace(work=SimpleNamespace(report=tmp_path / "report"), handed=handed)
    monkeypatch.setattr(report_pages, "app_instance", lambda: SimpleNamespace(training=training))
    return SimpleNamespace(former=former, training=training)


def test_the_first_page_says_what_to_do_here_and_all_others_are_sent_as_they_are(server, tmp_path):
    assert report_pages.page("").body.decode() == PAGE.replace("</header>", f"{HERE}</header>", 1)
    (tmp_path / "report" / "case.html").write_text(PAGE, encoding="utf-8")
    assert report_pages.page("case.html").path.name == "case.html"


def test_the_first_page_says_of_which_studies_it_tells_a_former_image(server):
    server.former += ["abd_01", "<b>"]
    answer = report_pages.page("index.html")
    text = answer.body.decode()
    note = "Replaced or removed since this report was made: abd_01, &lt;b&gt;."
    note += " What it tells of them is of the image before."
    assert text == PAGE.replace("</header>", f'{HERE}<p class="warning">{note}</p>\n</header>', 1)
    assert all(answer.headers[name] == value for name, value in report_pages.HEADERS.items())


def test_the_report_is_sent_while_the_studies_are_away(server, tmp_path):
    class Away:
        def labelled(self, tag):
            raise BundleError("the folder of studies is gone")

    Handed({"spleen": 1}, {"abd_01": {"spleen": 0.9}}, {}, True).write(tmp_path / "handed.json")
    server.training.handed = HandedNow(tmp_path / "handed.json", Away)
    with pytest.raises(BundleError):
        server.training.handed.former()
    for path in ("", "index.html"):
        answer = report_pages.page(path)
        assert answer.body.decode() == PAGE.replace("</header>", f"{HERE}</header>", 1)
        assert all(answer.headers[name] == value for name, value in report_pages.HEADERS.items())


@pytest.mark.parametrize("path", ["../cohort.json", "other.html"])
def test_what_is_no_page_of_the_report_is_not_sent(server, path):
    with pytest.raises(HTTPException):
        report_pages.page(path)
