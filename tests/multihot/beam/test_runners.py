"""Flags that go to Beam, and the runner that they choose."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, SetupOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from converter.options import ConvertOptions
from multihot.beam import runners
from multihot.errors import UserError
from multihot.usage import Usage

_OURS = Usage("converter", "", "--csv=labels.csv --images=images", (ConvertOptions,))
_DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=r")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param("--imges=x", "Unknown flag --imges. Did you mean --images?", id="one of ours"),
        pytest.param("--cvs=x", "Unknown flag --cvs. Did you mean --csv?", id="a short one of ours"),
        pytest.param("--projct=x", "Unknown flag --projct. Did you mean --project?", id="one of Beam's"),
        pytest.param("--temp_locatoin=x", "Unknown flag --temp_locatoin. Did you mean --temp_location?", id="swapped"),
        pytest.param("--xyzzyplugh", "Unknown flag --xyzzyplugh. ", id="like none"),
        pytest.param("labels.csv", "Unexpected argument 'labels.csv'", id="no flag"),
        pytest.param("--num_workers=many", "Flags of Beam: argument --num_workers: invalid int value", id="no number"),
    ],
)
def test_what_beam_does_not_know_is_an_error_with_the_closest_flag(flag: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        runners.parse([flag], _OURS)
    assert str(caught.value).startswith(message)


def test_flags_of_beam_become_its_options() -> None:
    given = runners.parse(
        [*_DATAFLOW, "--num_workers=3", "--temp_location", "gs://bucket/tmp"], _OURS
    ).get_all_options()
    assert (given["project"], given["num_workers"], given["temp_location"]) == ("p", 3, "gs://bucket/tmp")


def test_a_job_server_gets_flags_that_only_it_knows_but_not_mistyped_ones() -> None:
    runners.parse(["--runner=FlinkRunner", "--checkpointing_interval=1000"], _OURS)
    with pytest.raises(UserError, match=r"Did you mean --flink_master\?"):
        runners.parse(["--runner=FlinkRunner", "--flink_mastr=x"], _OURS)


@pytest.mark.parametrize("flag", ["--dry_run=True", "--template_location=x", "--no_wait_until_finish"])
def test_a_job_that_is_only_described_is_for_other_machines(flag: str) -> None:
    with pytest.raises(UserError, match="are for runners on other machines"):
        runners.parse([flag], _OURS)
    assert runners.is_only_described(runners.parse([*_DATAFLOW, flag], _OURS))


def test_the_default_runner_is_pinned() -> None:
    assert type(runners.runner(PipelineOptions([]))) is FnApiRunner


def test_a_runner_that_there_is_not() -> None:
    with pytest.raises(UserError, match="--runner=NoSuchRunner is not available"):
        runners.runner(PipelineOptions(["--runner=NoSuchRunner"]))


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([], id="in this process"),
        pytest.param([*_DATAFLOW, "--extra_package=x.whl"], id="with a package of the user's"),
        pytest.param([*_DATAFLOW, "--setup_file=/x/setup.py"], id="with a setup file of the user's"),
        pytest.param([*_DATAFLOW, "--sdk_container_image=x"], id="with an image, which has it"),
    ],
)
def test_nothing_is_staged_without_need(flags: list[str], tmp_path: object) -> None:
    options = PipelineOptions(flags)
    before = options.get_all_options()
    runners.stage(options, str(tmp_path))
    assert options.view_as(SetupOptions).get_all_options() == before


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [
        (["--runner=PrismRunner"], runners._NO_TIMEOUT_SECONDS),
        (["--runner=FlinkRunner"], runners._NO_TIMEOUT_SECONDS),
        (["--runner=FlinkRunner", "--job_server_timeout=300"], 300),
        (["--runner=PortableRunner", "--job-server-timeout=7"], 7),
        (["--runner=DataflowRunner"], 300),
        ([], 300),
    ],
)
def test_a_job_takes_as_long_as_it_does(flags: list[str], seconds: int) -> None:
    options = PipelineOptions(flags)
    runners.set_timeout(options)
    assert options.view_as(PortableOptions).job_server_timeout == seconds


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (["--runner=PrismRunner"], "LOOPBACK"),
        (["--runner=PrismRunner", "--environment_type=DOCKER"], "DOCKER"),
        (["--runner=PortableRunner"], "DOCKER"),
        (["--runner=PortableRunner", "--environment_type=EXTERNAL"], "EXTERNAL"),
        (["--runner=FlinkRunner"], "LOOPBACK"),
        (["--runner=FlinkRunner", "--flink_master=host:8081"], "DOCKER"),
        (["--runner=SparkRunner"], "LOOPBACK"),
        (["--runner=SparkRunner", "--spark_master_url=spark://host:7077"], "DOCKER"),
    ],
)
def test_only_workers_that_install_packages_are_given_ours(
    flags: list[str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PipelineOptions(flags)
    assert runners.workers(options) == kind
    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda name: None)
    if kind == "DOCKER":
        with pytest.raises(UserError, match="by the package `build`, and that is not installed: pip install build"):
            runners.stage(options, str(tmp_path))
    else:
        runners.stage(options, str(tmp_path))
    setup = options.view_as(SetupOptions)
    assert (setup.setup_file, setup.extra_packages) == (None, None)
