"""Series and segmentations of a DICOMweb server (PACS)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from requests_toolbelt import StreamingIterator

from bundle.monai_label.studies.address import REFUSED, no_answer
from bundle.monai_label.studies.login import STAGE, authorities, authorization, wants_login
from scripts.common.errors import BundleError
from scripts.common.files import atomic_folder, atomic_path, read_json, remove_tree, write_json
from scripts.data.reading.grid_limits import MINIMUM_VOXELS

UID = r"[0-9][0-9.]{0,63}"  # what it names becomes a folder of ours
MODALITIES = ("CT", "MR")
SHOWN = ("PatientID", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality")
FRESH_S = 5.0  # so long an answer to a search is used again: viewers ask several times a second
PIECE_BYTES = 1 << 24  # of objects on their way
TIMEOUT_S = (10.0, 300.0)  # to connect, between two pieces of an answer
ATTEMPTS, WAIT_MS = 3, 250  # of the client, after 0.5 and 1 s: its own are five in 30 s, and a viewer stands still

Answer = TypeVar("Answer")

logging.getLogger("dicomweb_client").setLevel(logging.WARNING)  # it tells of every request


class _OneServer(requests.Session):
    """Goes to no other server than the one asked, whatever that one says or the environment sets."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # nor `.netrc`: a login is what `login` says
        self.headers.update(authorization())
        self.verify = authorities()

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        answer = super().request(*arguments, **{"timeout": TIMEOUT_S, **options, "allow_redirects": False})
        if answer.is_redirect:
            answer.close()
            raise requests.TooManyRedirects("it points to another place, where nobody follows")
        return answer


def one_server_session() -> requests.Session:
    """A session that follows no redirection, but takes it for an error, and asks no proxy."""
    return _OneServer()


class Pacs:
    """A DICOMweb server.

    Args:
        url: such as http://127.0.0.1:8042/dicom-web.
        folder: keeps the series that were fetched.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self._session = one_server_session()
        self._client = DICOMwebClient(url=url, session=self._session, chunk_size=PIECE_BYTES)
        self._client.set_http_retry_params(max_attempts=ATTEMPTS, wait_exponential_multiplier=WAIT_MS)
        self._found: tuple[float, dict[str, dict[str, Any]]] | None = None
        self._failed: tuple[float, BundleError] | None = None
        self._images: dict[str, int] = {}  # series -> how many the server says it has, where it says so

    def studies(self) -> Mapping[str, Mapping[str, Any]]:
        """Series instance UID -> what viewers show, of each CT or MR series with enough slices.

        Raises:
            BundleError: the server does not answer.
        """
        if self._found is not None and time.monotonic() - self._found[0] <= FRESH_S:
            return self._found[1]
        if self._failed is not None and time.monotonic() - self._failed[0] <= FRESH_S:
            raise self._failed[1]
        try:
            found = [about for modality in MODALITIES for about in self._series(modality)]
        except BundleError as error:  # a request asks several times
            self._failed = time.monotonic(), error
            raise
        counts = {about["SeriesInstanceUID"]: about.pop("images") for about in found}
        volumes = {about["SeriesInstanceUID"]: about for about in found}
        volumes = {
            series: about
            for series, about in volumes.items()
            if re.fullmatch(UID, series) and _may_be_volume(counts[series])
        }
        self._found, self._failed = (time.monotonic(), dict(sorted(volumes.items()))), None
        self._images = {series: int(count) for series, count in counts.items() if count is not None}
        return self._found[1]

    def volume(self, study: str) -> Path:
        """The folder of a series; fetched if need be.

        Raises:
            BundleError: the server does not answer.
        """
        place = self.folder / study
        if not place.is_dir():
            of_study = self.studies()[study]["StudyInstanceUID"]
            images = self._images.get(study, 0)
            with atomic_folder(place) as growing:
                for number, image in enumerate(self._each_image(of_study, study)):
                    image.save_as(growing / f"{number:05d}.dcm", enforce_file_format=True)
            write_json(self._count(study), images)
        return place

    def has_grown(self, study: str) -> bool:
        """Whether the server has more of a series than was fetched, as while it was still being received."""
        place = self.folder / study
        if not place.is_dir():
            return False
        with suppress(BundleError):  # what was fetched serves where the server does not answer
            self.studies()
        count = self._count(study)
        counted = int(read_json(count)) if count.exists() else 0
        return self._images.get(study, 0) > max(counted, sum(1 for _ in place.iterdir()))

    def stamp(self, study: str) -> str:
        """None: a UID names one series for good, which only grows."""
        return ""

    def forget(self, study: str) -> None:
        """Remove what was fetched of a series."""
        remove_tree(self.folder / study)

    def _count(self, study: str) -> Path:
        """How many images the server counted when the series was fetched: some servers count what they do not send."""
        return self.folder / f"{study}.count.json"

    def segmentations(self) -> list[Dataset]:
        """Headers of all segmentations (SEG) on the server."""
        found = []
        for about in self._series("SEG"):
            of_study, series = about["StudyInstanceUID"], about["SeriesInstanceUID"]
            headers = self._asked(partial(self._client.retrieve_series_metadata, of_study, series))
            found += [Dataset.from_json(header, bulk_data_uri_handler=lambda *_: b"") for header in headers]
        return found

    def fetch(self, header: Dataset, file: Path) -> None:
        """Fetch the object whose header `segmentations` told."""
        uids = [str(header[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        made = self._asked(lambda: self._client.retrieve_instance(*uids))
        with atomic_path(file) as temporary:
            made.save_as(temporary, enforce_file_format=True)

    def store(self, file: Path) -> None:
        """Store an object, piece by piece; the server keeps one that it has.

        Raises:
            BundleError: it does not take it.
        """
        boundary = uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        with file.open("rb") as content:
            pieces = chain([head], iter(partial(content.read, PIECE_BYTES), b""), [tail])
            body = StreamingIterator(len(head) + file.stat().st_size + len(tail), pieces)
            answer = self._asked(lambda: self._session.post(f"{self.url}/studies", data=body, headers=headers))
        if answer.status_code in REFUSED:
            raise wants_login(self.url, answer.status_code)
        if not self._asked(lambda: _is_stored(answer)):
            raise BundleError(
                "the DICOMweb server did not store the object",
                stage=STAGE,
                file=file,
                expected="a server that takes SEG",
                found=f"status {answer.status_code}",
            )

    def _each_image(self, of_study: str, series: str) -> Iterator[Dataset]:
        """The objects of a series, of which never all are held at once."""
        images = self._asked(lambda: self._client.iter_series(of_study, series))
        while (image := self._asked(lambda: next(images, None))) is not None:
            yield image

    def _series(self, modality: str) -> Iterator[dict[str, Any]]:
        fields = ["SeriesDescription", "NumberOfSeriesRelatedInstances"]
        found = self._asked(
            lambda: self._client.search_for_series(
                search_filters={"Modality": modality}, fields=fields, get_remaining=True
            )
        )
        for row in found:
            about = Dataset.from_json(row)
            known = {name: str(about[name].value) for name in SHOWN if about.get(name)}
            yield {**known, "images": about.get("NumberOfSeriesRelatedInstances")}

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """Raises BundleError instead of the many that client and network have."""
        try:
            return ask()
        except requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            raise (wants_login(self.url, status) if status in REFUSED else no_answer(self.url, error)) from error
        except (requests.RequestException, OSError, ValueError, KeyError) as error:
            raise no_answer(self.url, error) from error


def _is_stored(answer: requests.Response) -> bool:
    """Whether a server took what was sent; one that says nothing of a failure did."""
    is_json = "json" in answer.headers.get("content-type", "") and answer.content
    return answer.ok and not (is_json and Dataset.from_json(answer.json()).get("FailedSOPSequence"))


def _may_be_volume(images: Any) -> bool:
    """Whether a series of so many objects may be one; a single one may have many frames."""
    return images is None or int(images) == 1 or int(images) >= MINIMUM_VOXELS
