"""The address of a DICOMweb server, asked before ours starts; needs nothing of MONAI Label's environment."""

from __future__ import annotations

import urllib.error
import urllib.request
from urllib.parse import urlsplit

from scripts.common.errors import BundleError, in_short

STAGE = "DICOMweb"
PATIENCE_S = 10


def checked_server(url: str) -> str:
    """The address of a server that answers.

    Raises:
        BundleError: it is none, or the server does not answer.
    """
    address = urlsplit(url)
    if not address.hostname or address.username or address.query or address.fragment:
        raise BundleError(
            "this is no address of a DICOMweb server", stage=STAGE, expected="http://HOST:PORT/dicom-web", found=url
        )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirection())
    request = urllib.request.Request(f"{url}/studies?limit=1", headers={"Accept": "application/dicom+json"})
    try:
        with opener.open(request, timeout=PATIENCE_S):
            return url
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise no_answer(url, error) from error


def no_answer(url: str, error: Exception) -> BundleError:
    """What is said of a server that does not answer as a DICOMweb server does."""
    return BundleError(
        "the DICOMweb server does not answer",
        stage=STAGE,
        expected=f"a DICOMweb server (QIDO-RS, WADO-RS, STOW-RS) at {url}",
        found=in_short(error),
    )


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an error."""

    def redirect_request(self, *_: object) -> None:
        return None
