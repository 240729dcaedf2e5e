"""A real MONAI Label server with the app, driven over HTTP on loopback."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import requests

from bundle.monai_label.names import TAG, TRAINED
from scripts.data.volume_io import read_labels
from tests.paths import ROOT

PATIENCE_S = 900


class Server:
    """A server over a folder of studies; can be killed and started again.

    Args:
        studies: folder of volumes.
        app: its folder; the log lies beside it.
        options: further arguments of `python -m bundle monai-label`.
        patience_s: how long a training may take.
        environment: what its environment has beside the tests' own.
    """

    def __init__(self, studies, app, options=(), patience_s=PATIENCE_S, environment=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.studies, self.app, self.options, self.patience_s = studies, app, options, patience_s
        self.environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self):
        place = ["--studies", self.studies, "--app", self.app, "--port", self.port]
        command = [sys.executable, "-m", "bundle", "monai-label", *map(str, place), *self.options]
        self.log = (self.app.parent / "server.log").open("a")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.wait_for(lambda: self.get("/info/").status_code == 200)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path):
        return requests.get(self.url(path), timeout=PATIENCE_S)

    def post(self, path, **content):
        return requests.post(self.url(path), timeout=PATIENCE_S, **content)

    def submit(self, case, file, names):
        info = [{"name": name, "idx": value} for name, value in names.items()]
        with file.open("rb") as label:
            answer = requests.put(
                self.url(f"/datastore/label?image={case}&tag=final"),
                data={"params": json.dumps({"label_info": info})},
                files={"label": (file.name, label)},
                timeout=PATIENCE_S,
            )
        assert answer.status_code == 200, answer.text

    def training(self):
        return self.get("/train/").json()

    def wait_for(self, happened):
        end = time.monotonic() + self.patience_s
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.app.parent / "server.log").read_text(encoding="utf-8")[-3000:]
            try:
                if happened():
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.5)
        raise AssertionError((self.app.parent / "server.log").read_text(encoding="utf-8")[-3000:])

    def train_to_the_end(self):
        assert self.post(f"/train/{TRAINED}", json={}).status_code == 200
        self.wait_for(lambda: self.training()["status"] in ("DONE", "ERROR"))
        return self.training()


def send(server, method, path, headers=(), body=None):
    """Status and text; the path goes out as it is, `requests` would tidy it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def infer(server, model, case, folder, params=None, strokes=None, suffix=".nii.gz"):
    """The answer's voxels, once its grid was found to be the image's."""
    files = {} if strokes is None else {"label": (strokes.name, strokes.read_bytes())}
    data = {"params": json.dumps(params or {})}
    answer = server.post(f"/infer/{model}?image={case}&output=image", data=data, files=files)
    assert answer.status_code == 200, answer.text
    file = folder / f"{case}{suffix}"
    file.write_bytes(answer.content)
    image, label = nib.load(server.studies / f"{case}.nii.gz"), read_labels(file)
    assert label.array.shape == image.shape and np.allclose(label.affine, image.affine)
    return label.array


def quality(server, case):
    return server.get(f"/datastore/label/info?label={case}&tag={TAG}").json()["predicted_dice"]
