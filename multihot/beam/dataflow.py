"""Checks a job for Dataflow before it is submitted, and says where it can be watched.

Workers take minutes to start, and what they cannot do fails four times. So all that can be seen from here is checked
here, within seconds: flags, paths, credentials, and by one request each the folder for temporary files and the service.
"""

import datetime
import importlib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions, WorkerOptions

from multihot import storage
from multihot.beam import workers
from multihot.errors import UserError

_EXTRA = "In the checkout, install it with: pip install '.[gcp]'"
_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")
_PROJECT = re.compile(r"[a-z][-a-z0-9:.]+[a-z0-9]")
_FOLDER = re.compile(r"gs://[^/]+/.*")
# Seconds for an answer of the service.
_TIMEOUT = 20.0
# Statuses that another request may not get: too many requests, and failures of the service.
_PASSING = range(500, 600)


def check(options: PipelineOptions, paths: Sequence[tuple[str, str]], name: str) -> None:
    """Checks flags and paths, without a request.

    Args:
        options: of the job; its name, and the region that the tools of Google Cloud have as default, are filled in.
        paths: that workers open, each behind the flag or the argument that names it.
        name: of what the job makes, for the name of the job.

    Raises:
        UserError: a flag is missing or wrong, workers cannot open a path, or a package is not installed.
    """
    try:
        importlib.import_module("apache_beam.runners.dataflow.internal.apiclient")
    except ImportError as error:
        raise UserError(f"--runner=DataflowRunner needs packages for Google Cloud: {error}. {_EXTRA}") from error
    given = options.view_as(GoogleCloudOptions)
    _check_project(given.project)
    given.region = given.region or _default_region()
    _check_region(given.region)
    has_image = bool(options.view_as(WorkerOptions).sdk_container_image)
    for flag, path in paths:
        _check_path(flag, path, has_image)
    _check_folders(given)
    # In the list of all jobs of a project.
    given.job_name = given.job_name or f"multihot-{re.sub('[^a-z0-9]+', '-', name.lower())[:30]}-{_now()}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")


def _check_project(project: str | None) -> None:
    if not project:
        raise UserError("--project is required: the project of Google Cloud, as in --project=my-project")
    if not _PROJECT.fullmatch(project):
        raise UserError(
            "--project must be the id of a project, not its number or its name: `gcloud projects list` has the ids. "
            f"Received: {project!r}"
        )


def _default_region() -> str:
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    return DataflowRunner().get_default_gcp_region() or ""


def _check_region(region: str) -> None:
    if not region:
        raise UserError("--region is required: the region of the workers, that of the bucket, as in us-central1")
    if not _REGION.fullmatch(region):
        zone = re.fullmatch(rf"({_REGION.pattern})-[a-z]", region)
        hint = f"This is a zone in --region={zone[1]}." if zone else "Regions have names such as us-central1."
        raise UserError(f"--region is no region of Google Cloud. {hint} Received: {region!r}")


def _check_path(flag: str, path: str, has_image: bool) -> None:
    """Checks that workers can open a path.

    Args:
        flag: that names it, or argument.
        path: its value.
        has_image: whether workers run an image of the user's, whose environment may have keys.
    """
    if storage.is_local(path):
        copy = f". To copy it: gcloud storage cp --recursive {shlex.quote(path)} gs://bucket/"
        raise UserError(
            f"{flag} must be a path that the workers of Dataflow can open, such as gs://bucket/... "
            f"Received: {path!r}{'' if flag == '--output' else copy}"
        )
    scheme = path.partition("://")[0]
    if scheme in ("s3", "az") and not has_image:
        raise UserError(
            f"{flag}: the workers of Dataflow have no keys for {scheme}://, since they do not have the environment "
            "of this machine. Copy the files to gs://, or set the keys in an image: --sdk_container_image. "
            f"Received: {path!r}"
        )


def _check_folders(given: Any) -> None:
    # Without one that is valid, Beam creates a bucket.
    folders = {name: getattr(given, name) for name in ("temp_location", "staging_location") if getattr(given, name)}
    if not folders:
        raise UserError(
            "--temp_location is required: a folder for the files of the job, as in --temp_location=gs://bucket/tmp"
        )
    for name, folder in folders.items():
        if not _FOLDER.fullmatch(folder):
            raise UserError(f"--{name} must be a folder in a bucket, such as gs://bucket/tmp. Received: {folder!r}")


def check_services(options: PipelineOptions) -> None:
    """Checks by requests that the job can be staged and submitted.

    Raises:
        UserError: a bucket or the project is not there, or refuses access.
    """
    if options.view_as(TestOptions).dry_run:
        return
    given = options.view_as(GoogleCloudOptions)
    for name in ("temp_location", "staging_location"):
        if getattr(given, name):
            workers.check_writable(f"--{name}: this account", getattr(given, name))
    if not given.template_location:
        _check_service(options, given)


def _check_service(options: PipelineOptions, given: Any) -> None:
    """Asks the service for jobs in this project and region."""
    import google.auth.exceptions
    from apache_beam.internal.gcp import auth
    from google.auth.transport.requests import AuthorizedSession

    if given.no_auth:
        return
    # Those with which Beam submits the job.
    credentials = auth.get_service_credentials(options)
    if credentials is None:
        raise UserError(
            "There are no credentials for Google Cloud. Run `gcloud auth application-default login`, or let "
            "GOOGLE_APPLICATION_CREDENTIALS name the key of a service account."
        )
    url = f"{given.dataflow_endpoint}/v1b3/projects/{given.project}/locations/{given.region}/jobs?pageSize=1"
    try:
        with AuthorizedSession(credentials.get_google_auth_credentials()) as session:
            answer = session.get(url, timeout=_TIMEOUT)
    except google.auth.exceptions.GoogleAuthError as error:
        raise UserError(
            f"The credentials for Google Cloud cannot be used: {_line(error.args[0] if error.args else error)}. "
            "Run `gcloud auth application-default login`."
        ) from error
    except OSError as error:  # Of this kind are the errors of `requests`.
        cause = getattr(error.args[0], "reason", error) if error.args else error
        words = str(cause).partition("): ")[2] or cause
        raise UserError(f"Dataflow cannot be reached at {given.dataflow_endpoint}: {_line(words)}") from error
    if answer.status_code >= 400 and answer.status_code != 429 and answer.status_code not in _PASSING:
        raise UserError(
            f"Dataflow refuses access to the jobs of --project={given.project} in --region={given.region}: "
            f"{_said(answer)}"
        )


def _said(answer: Any) -> str:
    """Returns the message in an answer of the service."""
    try:
        return _line(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"status {answer.status_code}"


def _line(text: object) -> str:
    return " ".join(str(text).split())


def cancel(options: PipelineOptions, job: str) -> str:
    """Returns the command that cancels a job."""
    given = options.view_as(GoogleCloudOptions)
    return f"gcloud dataflow jobs cancel {job} --project={given.project} --region={given.region}"


def submitted(options: PipelineOptions, job: str, graph: str) -> str:
    """Returns the lines about a job that was submitted: where it can be watched, and how it is cancelled.

    Args:
        options: of the job.
        job: its id.
        graph: the steps of its graph that say how far it is, and what they count.
    """
    given = options.view_as(GoogleCloudOptions)
    lines: Iterable[str] = (
        f"Dataflow runs the job: https://console.cloud.google.com/dataflow/jobs/{given.region}/{job}"
        f"?project={given.project}",
        f"Workers start in some minutes. In its graph, {graph}. Errors are in the logs of the workers.",
        f"To cancel it: {cancel(options, job)}",
    )
    return "\n".join(lines)
