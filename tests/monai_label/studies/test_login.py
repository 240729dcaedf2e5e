"""A DICOMweb server that wants to know who asks; needs nothing of MONAI Label's environment."""

import logging
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bundle.monai_label.studies.address import checked_server
from bundle.monai_label.studies.login import (
    AUTHORITIES,
    PASSWORD,
    TOKEN,
    USERNAME,
    authorities,
    authorization,
)
from scripts.common.errors import BundleError


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    for name in (USERNAME, PASSWORD, TOKEN, AUTHORITIES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def guarded():
    """The address of a server that lets in who knows what its `expected` says, and what it was told."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            told.append(self.headers.get("authorization"))
            self.send_response(200 if told[-1] == server.expected else 401)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    told = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server, f"http://127.0.0.1:{server.server_port}/dicom-web", told
    server.shutdown()


def test_without_a_login_nothing_is_sent(guarded):
    server, url, told = guarded
    server.expected = None
    assert authorization() == {} and checked_server(url) == url and told == [None]


def test_a_name_and_a_password_go_as_basic_in_utf_8(guarded, monkeypatch):
    server, url, told = guarded
    monkeypatch.setenv(USERNAME, "ärztin")
    monkeypatch.setenv(PASSWORD, "pass:wort")
    server.expected = authorization()["Authorization"]
    kind, content = server.expected.split()
    assert kind == "Basic" and b64decode(content).decode() == "ärztin:pass:wort"
    assert checked_server(url) == url and told == [server.expected]


def test_a_token_goes_as_bearer(guarded, monkeypatch):
    server, url, told = guarded
    monkeypatch.setenv(TOKEN, "abc.def")
    server.expected = "Bearer abc.def"
    assert checked_server(url) == url and told == ["Bearer abc.def"]


def test_a_server_that_wants_a_login_or_another_one_says_what_to_do(guarded, monkeypatch):
    server, url, _ = guarded
    server.expected = "Bearer right"
    with pytest.raises(BundleError, match="the DICOMweb server wants a login") as caught:
        checked_server(url)
    assert USERNAME in caught.value.expected and TOKEN in caught.value.expected and "401" in caught.value.found
    monkeypatch.setenv(TOKEN, "wrong-secret")
    with pytest.raises(BundleError, match="does not let this login in") as caught:
        checked_server(url)
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        ({USERNAME: "me"}, "is not whole"),
        ({PASSWORD: "secret"}, "is not whole"),
        ({USERNAME: "me", PASSWORD: "secret", TOKEN: "secret"}, "is not whole"),
        ({USERNAME: "a:b", PASSWORD: "secret"}, "cannot be sent"),
        ({USERNAME: "me", PASSWORD: "secret\nX: y"}, "cannot be sent"),
        ({TOKEN: "secret\r\nX: y"}, "cannot be sent"),
        ({TOKEN: "secrét"}, "cannot be sent"),
    ],
)
def test_half_a_login_or_one_that_no_header_holds_is_refused_and_not_shown(monkeypatch, login, problem):
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BundleError, match=problem) as caught:
        authorization()
    assert "secr" not in str(caught.value)


def test_a_login_in_the_address_is_refused_and_not_shown():
    with pytest.raises(BundleError, match="has no place in the address") as caught:
        checked_server("http://me:secret@127.0.0.1:1/dicom-web")
    assert "secret" not in str(caught.value) and USERNAME in str(caught.value)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://pacs.invalid/dicom-web", True),
        ("https://pacs.invalid/dicom-web", False),
        ("http://127.0.0.1:1/dicom-web", False),
        ("http://localhost:1/dicom-web", False),
    ],
)
def test_a_login_that_leaves_the_machine_unencrypted_is_told(monkeypatch, caplog, url, warned):
    monkeypatch.setenv(TOKEN, "t0ken")
    with caplog.at_level(logging.WARNING), pytest.raises(BundleError, match="does not answer"):
        checked_server(url)
    assert ("goes there unencrypted" in caplog.text) is warned and "t0ken" not in caplog.text


def test_the_authorities_of_a_hospital_are_those_that_the_environment_names(monkeypatch):
    assert authorities() is True
    monkeypatch.setenv(AUTHORITIES, "/etc/hospital.pem")
    assert authorities() == "/etc/hospital.pem"
