"""What is said of a job for Dataflow before any request."""

import re

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from multihot.beam import runners
from multihot.errors import UserError
from multihot.usage import Usage

pytest.importorskip("google.cloud.dataflow", reason="needs the extra `gcp`")

_RIGHT = {
    "runner": "DataflowRunner",
    "project": "my-project",
    "region": "europe-west4",
    "temp_location": "gs://bucket/tmp",
    "dry_run": "True",
}
_PATHS = {"--csv": "gs://bucket/labels.csv", "--images": "gs://bucket/images", "--output": "gs://bucket/data"}
_USAGE = Usage("some.program", "", "--flag=x", ())


def _check(flags: dict[str, str], **paths: str) -> PipelineOptions:
    given = {**_RIGHT, **flags}
    args = [f"--{name}" if value == "switch" else f"--{name}={value}" for name, value in given.items() if value]
    options = runners.parse(args, _USAGE)
    runners.check(options, [*({**_PATHS, **{f"--{name}": path for name, path in paths.items()}}.items())], "My Photos!")
    return options


@pytest.fixture(autouse=True)
def no_default_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a default of Google's tools, which Beam would take."""
    monkeypatch.delenv("CLOUDSDK_COMPUTE_REGION", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/none")


@pytest.mark.parametrize(
    "region", ["us-central1", "europe-west4", "northamerica-northeast2", "me-central1", "u-france-east1"]
)
def test_a_job_with_all_flags_is_right(region: str) -> None:
    options = _check({"region": region})
    assert re.fullmatch(r"multihot-my-photos--\d{8}-\d{6}", options.view_as(GoogleCloudOptions).job_name)
    _check({"region": region, "temp_location": "", "staging_location": "gs://bucket/"})


def test_the_default_region_of_the_tools_of_google_cloud_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_COMPUTE_REGION", "asia-east1")
    _check({"region": ""})


@pytest.mark.parametrize(
    ("flags", "paths", "sentence"),
    [
        pytest.param({"project": ""}, {}, "--project is required", id="no project"),
        pytest.param({"project": "123456"}, {}, "--project must be the id of a project, not its number", id="a number"),
        pytest.param({"project": "My Project"}, {}, "--project must be the id of a project", id="a name"),
        pytest.param({"region": ""}, {}, "--region is required", id="no region"),
        pytest.param({"region": "us-central1-a"}, {}, "--region is no .* in --region=us-central1", id="a zone"),
        pytest.param({"region": "EU"}, {}, "--region is no region of Google Cloud", id="no region's name"),
        pytest.param({"temp_location": ""}, {}, "--temp_location is required", id="no folder"),
        pytest.param({"temp_location": "gs://bucket"}, {}, "--temp_location must be a folder", id="only a bucket"),
        pytest.param(
            {"temp_location": "/tmp/x"}, {}, "--temp_location must be a folder", id="a folder of this machine"
        ),
        pytest.param(
            {},
            {"images": "my photos"},
            "--images must be a path .* Received: 'my photos'. To copy it: gcloud storage cp --recursive 'my photos' ",
            id="images on this machine",
        ),
        pytest.param({}, {"csv": "b.csv"}, "--csv must be a path", id="one of several tables here"),
        pytest.param({}, {"output": "data"}, "--output must be a path .* Received: 'data'$", id="output here"),
        pytest.param(
            {"dry_run": "", "no_wait_until_finish": "switch"}, {"output": "data"}, "--output", id="without waiting"
        ),
        pytest.param({"template_location": "gs://b/t"}, {"output": "data"}, "--output", id="a template"),
        pytest.param({}, {"images": "s3://bucket/images"}, "--images: the workers of Dataflow have no keys", id="s3"),
    ],
)
def test_a_flag_that_is_missing_or_wrong_is_named(flags: dict[str, str], paths: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        _check(flags, **paths)


def test_an_image_may_have_keys_for_other_stores() -> None:
    _check({"sdk_container_image": "image"}, images="s3://bucket/images")
