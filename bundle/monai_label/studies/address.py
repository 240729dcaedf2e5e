"""The address of a DICOMweb server, asked before ours starts; needs nothing of MONAI Label's environment."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from ipaddress import ip_address
from urllib.parse import urlsplit

from bundle.monai_label.studies.login import EXPECTED, STAGE, authorization, wants_login
from scripts.common.errors import BundleError, in_short

logger = logging.getLogger(__name__)

PATIENCE_S = 10
REFUSED = (401, 403)


def checked_server(url: str) -> str:
    """The address of a server that answers.

    Raises:
        BundleError: it is none, the server does not answer, or it wants another login.
    """
    address, headers = urlsplit(url), {"Accept": "application/dicom+json", **authorization()}
    if address.username is not None:
        raise BundleError("a login has no place in the address: logs show it", stage=STAGE, expected=EXPECTED)
    if not address.hostname or address.query or address.fragment:
        raise BundleError(
            "this is no address of a DICOMweb server", stage=STAGE, expected="http://HOST:PORT/dicom-web", found=url
        )
    if len(headers) > 1 and address.scheme == "http" and not _is_this_machine(address.hostname):
        logger.warning("%s: the login goes there unencrypted; an address with https:// keeps it secret", url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirection())
    request = urllib.request.Request(f"{url}/studies?limit=1", headers=headers)
    try:
        with opener.open(request, timeout=PATIENCE_S):
            return url
    except urllib.error.HTTPError as error:
        raise (wants_login(url, error.code) if error.code in REFUSED else no_answer(url, error)) from error
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


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an error."""

    def redirect_request(self, *_: object) -> None:
        return None
