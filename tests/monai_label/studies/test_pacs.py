"""What a DICOMweb server may answer, by one that answers what a test wants."""

import hashlib
import json
import socket
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

pytest.importorskip("dicomweb_client", reason="it lives in the environment of MONAI Label: make test-monai-label")

import requests

from bundle.monai_label.launch import checked_studies
from bundle.monai_label.studies import login
from bundle.monai_label.studies import pacs as pacs_module
from bundle.monai_label.studies.pacs import Pacs, one_server_session
from scripts.common.errors import BundleError
from scripts.common.files import write_json

CT = "1.2.3.4"


def row(series, images=20):
    """A series, as QIDO-RS tells it."""
    return {
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "0020000E": {"vr": "UI", "Value": [series]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00201209": {"vr": "IS", "Value": [] if images is None else [images]},
    }


@pytest.fixture
def answering():
    """answering(status, content, **headers): the address of a server that always says so, and what it was asked."""
    servers = []

    def start(status=200, content=b"[]", **headers):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                first = "offset=0" in self.path or "offset" not in self.path
                self.send_response(status)
                for name, value in {"content-type": "application/dicom+json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content if first and "Modality=MR" not in self.path else b"[]")

            def do_POST(self):
                left = int(self.headers["content-length"])
                asked.append((self.path, self.headers["content-type"], left, digest := hashlib.sha256()))
                while left:
                    digest.update(piece := self.rfile.read(min(left, 1 << 12)))
                    left -= len(piece)
                self.send_response(status)
                self.send_header("content-type", "application/dicom+json")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/dicom-web", asked

    yield start
    for server in servers:
        server.shutdown()


def test_series_of_a_few_images_and_names_that_are_none_are_no_studies(answering, tmp_path):
    rows = [row(CT), row("1.2.5", 3), row("../../etc"), row("..", 30), row("1.2.6", 1)]
    url, _ = answering(content=json.dumps(rows).encode())
    assert list(Pacs(url, tmp_path).studies()) == [CT, "1.2.6"], "one image may have many frames"


def test_an_answer_is_used_again_for_some_seconds(answering, tmp_path):
    url, asked = answering(content=json.dumps([row(CT)]).encode())
    pacs = Pacs(url, tmp_path)
    first = pacs.studies()
    count = len(asked)
    assert pacs.studies() == first and len(asked) == count


def test_who_asks_a_server_that_is_down_is_told_soon_and_it_is_not_asked_each_time(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/dicom-web"
    pacs, begun = Pacs(url, tmp_path), time.monotonic()
    for _ in range(2):
        with pytest.raises(BundleError, match="the DICOMweb server does not answer"):
            pacs.studies()
    assert time.monotonic() - begun < 5
    asked = []
    monkeypatch.setattr(pacs, "_series", lambda modality: asked.append(modality) or [])
    with pytest.raises(BundleError):
        pacs.studies()
    assert asked == []
    monkeypatch.setattr(pacs_module, "FRESH_S", 0.0)
    assert pacs.studies() == {} and asked, "when it is there again"


@pytest.mark.parametrize(("images", "grown"), [(20, False), (21, True), (None, False)])
def test_a_series_has_grown_if_the_server_has_more_than_was_fetched(answering, tmp_path, images, grown):
    url, _ = answering(content=json.dumps([row(CT, images)]).encode())
    pacs = Pacs(url, tmp_path)
    assert not pacs.has_grown(CT), "nothing was fetched"
    (tmp_path / CT).mkdir()
    for number in range(20):
        (tmp_path / CT / f"{number:05d}.dcm").touch()
    assert pacs.has_grown(CT) is grown
    pacs.forget(CT)
    assert not (tmp_path / CT).exists() and not pacs.has_grown(CT)


@pytest.mark.parametrize(("counted", "grown"), [(20, True), (21, False)])
def test_what_a_server_counts_and_does_not_send_is_remembered_on_disk(answering, tmp_path, counted, grown):
    url, _ = answering(content=json.dumps([row(CT, 21)]).encode())
    (tmp_path / CT).mkdir()
    (tmp_path / CT / "00000.dcm").touch()
    write_json(tmp_path / f"{CT}.count.json", counted)
    assert Pacs(url, tmp_path).has_grown(CT) is grown, "by another process"


def test_what_was_fetched_serves_where_the_server_does_not_answer(answering, tmp_path):
    url, _ = answering(500, b"{}")
    (tmp_path / CT).mkdir()
    assert not Pacs(url, tmp_path).has_grown(CT)


def test_nobody_follows_to_another_place(answering, tmp_path):
    other, asked = answering(content=json.dumps([row(CT)]).encode())
    url, _ = answering(status=302, Location=f"{other}/series")
    with pytest.raises(requests.TooManyRedirects):
        one_server_session().get(url)
    with pytest.raises(BundleError, match="the DICOMweb server does not answer"):
        checked_studies(url)
    with pytest.raises(BundleError, match="the DICOMweb server does not answer"):
        Pacs(url, tmp_path).studies()
    assert asked == []


def test_no_proxy_of_the_environment_is_asked(answering, monkeypatch):
    proxy, asked = answering()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.removesuffix("/dicom-web"))
    url, _ = answering()
    assert one_server_session().get(url).status_code == 200
    assert checked_studies(url) == url and asked == []


@pytest.mark.parametrize(("status", "content"), [(500, b"{}"), (200, b"<html>")])
def test_a_server_that_is_none_is_told(answering, tmp_path, status, content):
    url, _ = answering(status, content)
    with pytest.raises(BundleError, match="the DICOMweb server does not answer") as caught:
        Pacs(url, tmp_path).studies()
    assert caught.value.expected == f"a DICOMweb server (QIDO-RS, WADO-RS, STOW-RS) at {url}"


def test_start_and_server_say_alike_that_nobody_answers(answering, tmp_path):
    url, _ = answering(500, b"{}")
    said = []
    for ask in (lambda: checked_studies(url), Pacs(url, tmp_path).studies):
        with pytest.raises(BundleError) as caught:
            ask()
        said.append((caught.value.problem, caught.value.stage, caught.value.expected))
    assert said[0] == said[1]


FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}


def test_an_object_is_stored_piece_by_piece(answering, tmp_path, monkeypatch):
    monkeypatch.setattr(pacs_module, "PIECE_BYTES", 1 << 14)
    url, asked = answering(content=b"{}")
    (tmp_path / "object.dcm").write_bytes(sent := bytes(range(256)) * (1 << 14))
    pacs = Pacs(url, tmp_path)
    tracemalloc.start()
    pacs.store(tmp_path / "object.dcm")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ((path, kind, length, digest),) = asked
    boundary = kind.split("boundary=")[1]
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    whole = head + sent + f"\r\n--{boundary}--\r\n".encode()
    assert (path, length) == ("/dicom-web/studies", len(whole))
    assert digest.digest() == hashlib.sha256(whole).digest()
    assert peak_bytes < len(sent) / 4


@pytest.mark.parametrize(("status", "said"), [(200, FAILED), (202, FAILED), (409, FAILED), (503, {})])
def test_an_object_that_is_not_taken_is_told(answering, tmp_path, status, said):
    url, _ = answering(status, json.dumps(said).encode())
    (tmp_path / "object.dcm").write_bytes(b"DICM")
    with pytest.raises(BundleError, match="the DICOMweb server did not store the object") as caught:
        Pacs(url, tmp_path).store(tmp_path / "object.dcm")
    assert caught.value.found == f"status {status}"


def test_every_request_says_who_asks_and_a_refusal_says_what_to_do(answering, tmp_path, monkeypatch):
    monkeypatch.setenv(login.TOKEN, "abc")
    monkeypatch.setenv(login.AUTHORITIES, "/etc/hospital.pem")
    session = one_server_session()
    assert session.headers["Authorization"] == "Bearer abc" and session.verify == "/etc/hospital.pem"
    for status in (401, 403):
        url, _ = answering(status=status)
        pacs, file = Pacs(url, tmp_path), tmp_path / "a.dcm"
        file.write_bytes(b"DICM")
        for ask in (pacs.studies, lambda pacs=pacs, file=file: pacs.store(file)):
            with pytest.raises(BundleError, match="does not let this login in") as caught:
                ask()
            assert login.USERNAME in caught.value.expected and str(status) in caught.value.found
