"""Who asks a DICOMweb server, and whose certificate is believed: the environment says it, by MONAI Label's names.

A command line would show a password to everybody on the machine, an address to everybody who reads a log.
"""

from __future__ import annotations

import os
from base64 import b64encode

from scripts.common.errors import BundleError

STAGE = "DICOMweb"
USERNAME, PASSWORD = "MONAI_LABEL_DATASTORE_USERNAME", "MONAI_LABEL_DATASTORE_PASSWORD"
TOKEN = "MONAI_LABEL_DATASTORE_API_KEY"  # of OAuth 2: sent as "Bearer"
AUTHORITIES = "SSL_CERT_FILE"  # those of the hospital's own servers
EXPECTED = f"{USERNAME} and {PASSWORD}, or {TOKEN}, in the environment of the command that starts the server"


def authorization() -> dict[str, str]:
    """The header that says who asks; {} where the environment names nobody.

    Raises:
        BundleError: a name without a password or the other way round, both ways at once, or what no header can hold.
    """
    username, password, token = (os.environ.get(name, "") for name in (USERNAME, PASSWORD, TOKEN))
    if bool(username) != bool(password) or (username and token):
        found = " and ".join(name for name in (USERNAME, PASSWORD, TOKEN) if os.environ.get(name))
        raise BundleError("the login of the DICOMweb server is not whole", stage=STAGE, expected=EXPECTED, found=found)
    if ":" in username or not (username + password).isprintable() or not (token.isascii() and token.isprintable()):
        raise BundleError(
            "the login of the DICOMweb server holds characters that cannot be sent",
            stage=STAGE,
            expected="no colon in the name, no line breaks, a token in ASCII",
        )
    if token:
        return {"Authorization": f"Bearer {token}"}
    if username:
        return {"Authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode()}
    return {}


def authorities() -> str | bool:
    """The file of certificate authorities that the environment names; True for the usual ones."""
    return os.environ.get(AUTHORITIES) or True


def wants_login(url: str, status: int) -> BundleError:
    """What is said where a server refuses who asks."""
    named = bool(authorization())
    problem = "does not let this login in" if named else "wants a login"
    return BundleError(f"the DICOMweb server {problem}", stage=STAGE, expected=EXPECTED, found=f"{status} at {url}")
