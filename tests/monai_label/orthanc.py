"""A real DICOMweb server on loopback: Orthanc with its plugin (Debian: orthanc, orthanc-dicomweb)."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pydicom
import requests

PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = next((str(file) for file in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")), None)
PATIENCE_S = 60


class Orthanc:
    """An empty server.

    Args:
        folder: of its database.
        login: a name and a password, without which it lets nobody in.
    """

    def __init__(self, folder, login=None):
        self.session = requests.Session()
        self.session.trust_env, self.session.auth = False, login and tuple(part.encode() for part in login)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = {
            **{"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")},
            **{"HttpPort": self.port, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": login is not None, "RegisteredUsers": dict([login] if login else [])},
            **{"DicomServerEnabled": False, "Plugins": [PLUGIN]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(config), encoding="utf-8")
        with (folder / "orthanc.log").open("w") as log:
            self.process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log)
        self.root = f"http://127.0.0.1:{self.port}"
        self.dicomweb = f"{self.root}/dicom-web"
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.session.get(f"{self.root}/system", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                assert self.process.poll() is None and time.monotonic() < end, (folder / "orthanc.log").read_text()
                time.sleep(0.2)

    def add(self, folder):
        """All files of a folder."""
        for file in sorted(folder.iterdir()):
            self.session.post(f"{self.root}/instances", data=file.read_bytes(), timeout=60).raise_for_status()

    def remove(self, uid):
        """A series."""
        for series in self.session.get(f"{self.root}/series?expand", timeout=60).json():
            if series["MainDicomTags"]["SeriesInstanceUID"] == uid:
                self.session.delete(f"{self.root}/series/{series['ID']}", timeout=60).raise_for_status()

    def segmentations(self, folder):
        """Series that is referred to -> files of its SEG objects, as they were stored."""
        found = {}
        for series in self.session.get(f"{self.root}/series?expand", timeout=60).json():
            if series["MainDicomTags"]["Modality"] == "SEG":
                for instance in series["Instances"]:
                    file = folder / f"{instance}.dcm"
                    file.write_bytes(self.session.get(f"{self.root}/instances/{instance}/file", timeout=60).content)
                    referred = pydicom.dcmread(file).ReferencedSeriesSequence[0].SeriesInstanceUID
                    found.setdefault(str(referred), []).append(file)
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE_S)
