"""Headless Chromium, driven over a pipe by the DevTools protocol: nothing but the browser needs to be installed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: chromium)")
LONGEST_WAIT_S = 120
DESKTOP, PHONE = (1280, 900), (390, 844)
# WebGL2 is computed on the CPU; a page of another place gets no answer.
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--mute-audio", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"),
)


class Page:
    """One tab.

    Attributes:
        problems: uncaught errors, violations of the page's policy, and lines that it logged as errors.
        requested: addresses that it asked for.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._buffer, self._number, self._session = send, receive, b"", 0, None
        self.problems: list[str] = []
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {} if self._session is None else {"sessionId": self._session}
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, file: Path, size: tuple[int, int] = DESKTOP, fragment: str = "") -> None:
        """Load a file as a user would by a double click."""
        self.resize(size)
        self.call("Page.navigate", url=file.absolute().as_uri() + fragment)
        while self._next_noted() != "Page.loadEventFired":
            pass

    def resize(self, size: tuple[int, int]) -> None:
        """Width and height in pixels; what is narrow is a phone."""
        phone = size[0] < 700
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **screen)

    def run(self, script: str) -> Any:
        """What an expression gives in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, condition: str, seconds: int = 60) -> None:
        """Until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, as a user presses it."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, file: Path, whole: bool = False) -> None:
        """A screenshot of what is to be seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def as_pdf(self, file: Path) -> None:
        """The page as it is printed."""
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))

    def download_to(self, folder: Path) -> None:
        """Where saved files go."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], LONGEST_WAIT_S)
            assert ready, "the browser does not answer"
            received = os.read(self._receive, 1 << 20)
            assert received, "the browser has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _next_noted(self) -> str:
        message = self._next()
        self._note(message)
        return str(message.get("method"))

    def _note(self, message: dict[str, Any]) -> None:
        method, content = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(content["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(content["exceptionDetails"].get("exception", {}).get("description", "an error"))
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.problems.append(content["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and content["type"] == "error":
            self.problems.append(" ".join(str(value.get("value")) for value in content["args"]))


@contextmanager
def opened_browser(profile: Path, *switches: str) -> Iterator[Page]:
    """A tab of a browser of its own, which ends with the block."""
    to_read, to_send = os.pipe()
    to_receive, to_write = os.pipe()
    # The browser reads commands from descriptor 3 and answers on 4; those here are out of the way.
    to_read, to_write = _moved(to_read), _moved(to_write)
    command = [str(CHROMIUM), *SWITCHES, *switches, f"--user-data-dir={profile}", "about:blank"]
    shell = ["bash", "-c", f'exec 3<&{to_read} 4>&{to_write}; exec "$@"', "sh", *command]
    with subprocess.Popen(
        shell, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(to_read)
        os.close(to_write)
        try:
            yield Page(to_send, to_receive)
        finally:
            process.kill()
            os.close(to_send)
            os.close(to_receive)


def _moved(descriptor: int) -> int:
    """The same pipe's end, under a number that the browser does not use."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20)
    os.close(descriptor)
    return moved
