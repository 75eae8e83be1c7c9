"""Opens the buckets of stores: finds their end points and credentials where the tools of each cloud look for them.

Their client is obstore, since it takes one request and a fifth of a millisecond of processor time for an image
(scripts/bench_store), and has the same functions for all stores. It repeats requests that fail or are throttled, with
increasing pauses. Images take less by libcurl (transfers.py).
"""

import datetime
import functools
import html
import importlib.util
import os
import re
import shutil
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multihot.errors import UserError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

# A request is repeated for so long; whatever takes longer is no moment's failure. Credentials last longer.
_RETRY: "RetryConfig" = {
    "max_retries": 8,
    "retry_timeout": datetime.timedelta(seconds=120),
    "backoff": {
        "init_backoff": datetime.timedelta(milliseconds=100),
        "max_backoff": datetime.timedelta(seconds=15),
        "base": 2,
    },
}
_CLIENT: "ClientConfig" = {
    # An end point of the user's may be one without TLS; those of clouds are not.
    "allow_http": True,
    "connect_timeout": "5s",
    # No byte for so long: the request stalls, and is made again.
    "read_timeout": "20s",
    # Of the whole request. Files are read and written in blocks, each of which needs less.
    "timeout": "300s",
}
# Where the machines of all three clouds ask for their credentials, and the seconds in which they get an answer.
_METADATA, _METADATA_SECONDS = ("169.254.169.254", 80), 2.0
# Requests under way at a time in a process, at most.
MOST_REQUESTS = 256
# An emulator of Google's store takes any token.
EMULATOR_TOKEN = "emulator"
_END_POINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GOOGLE_BASE_URL")
# The file that `gcloud auth application-default login` writes, and endings of the variables that give access to Azure.
_GOOGLE_LOGIN = "~/.config/gcloud/application_default_credentials.json"
_AZURE_KEYS = ("KEY", "TOKEN", "CLIENT_ID", "ENDPOINT", "FEDERATED_TOKEN_FILE", "SIGNATURE")


@functools.cache
def bucket(scheme: str, name: str) -> "ObjectStore":
    """Returns the store of a bucket, which all threads of a process use.

    Args:
        scheme: of its URL: `gs`, `s3` or `az`.
        name: of the bucket; for `az`, of the container.

    Raises:
        UserError: there is no client for this scheme, or what the environment says of the store cannot be used.
    """
    make = _SCHEMES.get(scheme)
    if make is None:
        raise UserError(
            f"There is no client for {scheme}:// here. Stores are {', '.join(f'{one}://' for one in _SCHEMES)}"
        )
    if not name:
        raise UserError(f"{scheme}:// must be followed by the name of a bucket")
    if any(wildcard in name for wildcard in "*?["):
        raise UserError(f"The name of a bucket cannot be a pattern. Received: {scheme}://{name}")
    if not re.fullmatch(r"[\w.$-]+", name, re.ASCII):
        raise UserError(f"No bucket has this name: {scheme}://{name!a}")
    for variable in _END_POINTS:
        value = os.environ.get(variable)
        if value and not value.startswith(("http://", "https://")):
            raise UserError(f"{variable} must start with http:// or https://. Received: {value}")
    from obstore import exceptions

    try:
        return make(name)
    except (exceptions.BaseError, OSError) as error:
        raise UserError(f"{scheme}://{name} cannot be used: {sentence(error)}") from error


@functools.cache
def check_credentials(scheme: str) -> None:
    """Checks that there may be credentials for a scheme. It waits for two seconds if nothing says so.

    Otherwise the client asks for them for minutes, if this is no machine of the cloud.

    Raises:
        UserError: there are none.
    """
    if scheme == "gs":
        ends: tuple[str, ...] = ("CREDENTIALS", "SERVICE_ACCOUNT", "_PATH", "_KEY", "_TOKEN", "SIGNATURE")
        given = _is_set("GOOGLE_", ends) or _is_set("SERVICE_ACCOUNT") or _is_set("STORAGE_EMULATOR_HOST")
        given = given or _is_set("GCE_METADATA_") or os.path.exists(os.path.expanduser(_GOOGLE_LOGIN))
        todo = "Run `gcloud auth application-default login`. A public bucket needs none: GOOGLE_SKIP_SIGNATURE=true"
    elif scheme == "s3":
        given = _has_boto3() or _is_set("AWS_", ("KEY_ID", "SIGNATURE", "_URI", "_TOKEN_FILE", "METADATA_ENDPOINT"))
        todo = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A public bucket needs none: AWS_SKIP_SIGNATURE=true"
    else:
        given = is_true("AZURE_STORAGE_USE_EMULATOR") or _is_set("AZURE_", _AZURE_KEYS) or _is_set("IDENTITY_ENDPOINT")
        given = given or bool(shutil.which("az"))
        todo = "Set AZURE_STORAGE_ACCOUNT_KEY, or install the command `az` and run `az login`"
    if given:
        return
    try:
        socket.create_connection(_METADATA, _METADATA_SECONDS).close()
    except ConnectionError:  # Something is there, which may not have started yet.
        return
    except OSError as error:
        raise UserError(f"There are no credentials for {scheme}://. {todo}") from error


def sentence(error: Exception) -> str:
    """Returns what a store has answered, in one line: a message of the client goes on with its own state."""
    text, _, state = str(error).partition("\n\nDebug source:")
    said = re.findall(r"<(?:Message|Details)>(.*?)</", text, re.DOTALL)
    if said:
        return html.unescape(" ".join(" ".join(said).split()))
    text = " ".join(text.split())
    request = re.search(r"Error performing \w+ (\w+://[^/?\s]+)\S* in \S+(?:, after .*?)? - (.+)", text)
    if "HTTP error: request or response body error" in text:
        return "its answer was cut off"
    if not request:
        return re.sub("^Generic .*? error: ", "", text).rstrip(": ") or type(error).__name__
    host, answer = request.groups()
    if answer.startswith("HTTP error"):
        cause = re.search(r'(?:message|error): "([^"]+)"', state)
        answer = cause[1] if cause else answer.removeprefix("HTTP error: ")
        return f"no answer in time from {host}" if "TimedOut" in state else f"no answer from {host}: {answer}"
    return f"{host}: {answer.removeprefix('Server returned non-2xx status code: ').rstrip(': ')}"


def _is_set(start: str, ends: tuple[str, ...] = ("",)) -> bool:
    return any(value and name.startswith(start) and name.endswith(ends) for name, value in os.environ.items())


def _has_boto3() -> bool:
    return importlib.util.find_spec("boto3") is not None


def is_true(variable: str) -> bool:
    """Whether a variable of the environment is set, as in `AWS_SKIP_SIGNATURE=true`."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def _google(name: str) -> "ObjectStore":
    from obstore.store import GCSStore

    options: dict[str, Any] = {"client_options": _CLIENT, "retry_config": _RETRY}
    if is_true("GOOGLE_SKIP_SIGNATURE"):
        options["skip_signature"] = True
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        options |= {"base_url": google_end_point(), "bearer_token": EMULATOR_TOKEN}
    return GCSStore(name, **options)


def google_end_point() -> str | None:
    """Returns the end point that the environment names for `gs://`; None: it is that of Google."""
    # Google's tools look there for an emulator, and obstore for any end point in GOOGLE_BASE_URL.
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    url = emulator if "://" in emulator or not emulator else f"http://{emulator}"
    return os.environ.get("GOOGLE_BASE_URL") or url or None


def _amazon(name: str) -> "ObjectStore":
    from obstore.store import S3Store

    options: dict[str, Any] = {"client_options": _CLIENT, "retry_config": _RETRY}
    environ = os.environ
    if "AWS_ACCESS_KEY_ID" in environ or is_true("AWS_SKIP_SIGNATURE"):
        # AWS_REGION, AWS_ENDPOINT_URL and others are read by obstore.
        return S3Store(name, **options)
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        if "AWS_PROFILE" in environ:
            raise UserError(
                "AWS_PROFILE names a profile, which boto3 reads. Install it: pip install 'multihot[aws]'. Or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from error
        # Keys of a container or of an instance.
        return S3Store(name, **options)
    session = _explained(boto3.Session)
    if _explained(session.get_credentials) is None:
        raise UserError(
            f"There are no credentials for s3://{name}: neither AWS_ACCESS_KEY_ID nor a profile, a container or an "
            "instance has any. Run `aws configure`. A public bucket needs none: AWS_SKIP_SIGNATURE=true"
        )
    endpoint = _explained(lambda: session.client("s3")).meta.endpoint_url
    if not endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        options["endpoint"] = endpoint
    return S3Store(name, credential_provider=Boto3CredentialProvider(session), **options)


def _explained(call: Callable[[], Any]) -> Any:
    import botocore.exceptions

    try:
        return call()
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise UserError(f"The credentials for s3:// cannot be read: {error}") from error


def _azure(name: str) -> "ObjectStore":
    from obstore.store import AzureStore

    names = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    account = next((os.environ[each] for each in names if os.environ.get(each)), "")
    emulated = is_true("AZURE_STORAGE_USE_EMULATOR")
    if not account and not emulated:
        raise UserError(f"For az://{name}, set AZURE_STORAGE_ACCOUNT_NAME to the name of the storage account")
    options: dict[str, Any] = {"account_name": account} if account else {}
    given = _is_set("AZURE_", _AZURE_KEYS) or _is_set("IDENTITY_ENDPOINT")
    if not given and not emulated and shutil.which("az"):
        options["use_azure_cli"] = True
    return AzureStore(name, client_options=_CLIENT, retry_config=_RETRY, **options)


_SCHEMES: dict[str, Callable[[str], "ObjectStore"]] = {"gs": _google, "s3": _amazon, "az": _azure}
