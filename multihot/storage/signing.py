"""Makes the requests by which objects are fetched without the client of their store (transfers.py).

They have the credentials that the client would use, where one token or key serves for many objects.
"""

import datetime
import functools
import importlib.util
import os
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

from multihot.errors import UserError
from multihot.storage import connections

# A request that waits for others is made within minutes.
_VALID = datetime.timedelta(hours=1)
_GOOGLE_END_POINT = "https://storage.googleapis.com"
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
# Variables by which the client finds another service account than the libraries of Google.
_GOOGLE_KEYS = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "SERVICE_ACCOUNT",
)
_AZURE_KEYS = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY")


class Request(NamedTuple):
    """How an object is asked for.

    Attributes:
        url: of the object; it may have a signature, and has no characters but those of ASCII.
        headers: lines of the request, as in `Authorization: Bearer ...`.
    """

    url: str
    headers: Sequence[str] = ()


def requests(urls: Sequence[str]) -> list[Request] | None:
    """Returns a request for each of several objects; None: only the client of their store can read them.

    Args:
        urls: of the objects, as in `s3://bucket/key`. Those of different buckets are for the client.
    """
    places = [url.partition("://")[2].partition("/") for url in urls]
    scheme, bucket = urls[0].partition("://")[0], places[0][0]
    if not all(url.startswith(f"{scheme}://{bucket}/") for url in urls):
        return None
    keys = [key.strip("/") for _, _, key in places]
    from obstore import exceptions

    # The client explains credentials that are missing or cannot be read, when it is asked for the content.
    try:
        connections.check_credentials(scheme)
        return _google(bucket, keys) if scheme == "gs" else _signed(scheme, bucket, keys)
    # A TypeError is about a name that the client does not know, as `a//b`.
    except (UserError, ValueError, TypeError, OSError, exceptions.BaseError):
        return None


def _signed(scheme: str, bucket: str, keys: Sequence[str]) -> list[Request] | None:
    by_keys = any(os.environ.get(name) for name in _AZURE_KEYS) or connections.is_true("AZURE_STORAGE_USE_EMULATOR")
    can_sign = by_keys if scheme == "az" else not connections.is_true("AWS_SKIP_SIGNATURE")
    if not can_sign:
        return None
    import obstore

    store: Any = connections.bucket(scheme, bucket)
    # All at once: one by one they take twice the time.
    return [Request(url) for url in obstore.sign(store, "GET", keys, _VALID)]


def _google(bucket: str, keys: Sequence[str]) -> list[Request] | None:
    # A signature for a URL would take a request, or a millisecond. The client sends a token, too.
    token = _google_token()
    if token is None:
        return None
    end_point = (connections.google_end_point() or _GOOGLE_END_POINT).rstrip("/")
    headers = (f"Authorization: Bearer {token}",) if token else ()
    return [Request(f"{end_point}/{bucket}/{urllib.parse.quote(key)}", headers) for key in keys]


def _google_token() -> str | None:
    """Returns the token of the credentials for Google's store; empty: it needs none; None: they are not at hand."""
    if connections.is_true("GOOGLE_SKIP_SIGNATURE"):
        return ""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return connections.EMULATOR_TOKEN
    if any(os.environ.get(name) for name in _GOOGLE_KEYS) or importlib.util.find_spec("google.auth") is None:
        return None
    from google.auth import exceptions
    from google.auth.transport.requests import Request as Transport

    try:
        credentials = _google_credentials()
        if not credentials.valid:
            credentials.refresh(Transport())
    except exceptions.GoogleAuthError:
        return None
    return str(credentials.token)


@functools.cache
def _google_credentials() -> Any:
    import google.auth

    return google.auth.default(scopes=[_GOOGLE_SCOPE])[0]
