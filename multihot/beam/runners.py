"""Chooses the Beam runner, parses its options, and stages our package for its workers."""

import argparse
import difflib
import importlib.metadata
import importlib.util
import posixpath
import zipfile
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner, create_runner

from multihot import flags
from multihot.beam import dataflow
from multihot.errors import UserError
from multihot.usage import Usage

_DISTRIBUTION = "multihot"
# Beam's default is five minutes, after which a job that is still running counts as failed. This is ten years.
_NO_TIMEOUT_SECONDS = 315_360_000
# Workers of these kinds import the packages that they find, and install none.
_WITH_PACKAGES = ("LOOPBACK", "EXTERNAL")
_CHECKOUT = Path(__file__).resolve().parents[2]

# These runners pass options on to a job server, which may know more options than Beam's Python package.
_PRISM = "prismrunner"
_PORTABLE = ("flinkrunner", "portablerunner", "sparkrunner", _PRISM)
_DATAFLOW = "dataflowrunner"
_LOCAL = ("", "fnapirunner", "directrunner", "bundlebaseddirectrunner", "switchingdirectrunner")


def parse(args: Sequence[str], usage: Usage) -> PipelineOptions:
    """Returns Beam's options from the arguments that are not our flags.

    Args:
        args: the arguments of the command line without our flags.
        usage: of the program, to suggest one of its flags for a mistyped name.

    Raises:
        UserError: an argument is not an option of Beam; the message names the closest flag.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for cls in _option_classes():
        cls._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(args))
    options = PipelineOptions(list(args))
    portable = _name(options) in _PORTABLE
    names = [*flags.names(usage), *(name.lstrip("-") for name in parser._option_string_actions)]
    for arg in unknown:
        if not arg.startswith("-"):
            if not portable:
                example = usage.example.split()[0]
                raise UserError(f"Unexpected argument {arg!r}: every argument is a flag, as in {example}")
            continue
        name = arg.lstrip("-").partition("=")[0]
        closest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        if closest:
            raise UserError(f"Unknown flag --{name}. Did you mean --{closest[0]}?")
        if not portable:
            raise UserError(f"Unknown flag --{name}. `python -m {usage.module} --help` lists ours; others are Beam's.")
    if runs_here(options) and is_only_described(options):
        raise UserError(
            "--dry_run, --template_location and --no_wait_until_finish are for runners on other machines, "
            "such as --runner=DataflowRunner."
        )
    return options


def runner(options: PipelineOptions) -> PipelineRunner:
    """Returns the runner that the options name; by default, FnApiRunner, which runs in this process.

    Beam's own default, DirectRunner, first tries to download the binary of another engine, and waits for ever behind a
    firewall that drops the request.

    Raises:
        UserError: no runner has this name, or a package that the runner needs is not installed.
    """
    name = options.view_as(StandardOptions).runner
    if not name:
        return FnApiRunner()
    try:
        return create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner={name} is not available: {error}") from error


def is_portable(options: PipelineOptions) -> bool:
    """Whether the job is given to a job server, by Beam's portable protocol."""
    return _name(options) in _PORTABLE


def is_prism(options: PipelineOptions) -> bool:
    """Whether the job runs on Prism, which is started by this process if no job server is named."""
    return _name(options) == _PRISM


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether the job runs on Dataflow."""
    return _name(options) == _DATAFLOW


def needs_endpoint(options: PipelineOptions) -> bool:
    """Whether the runner starts no engine, and has no job server of its own."""
    return _name(options) == "portablerunner"


def set_timeout(options: PipelineOptions) -> None:
    """Lets a job of a portable runner take as long as it does, unless the options have a limit."""
    names = ("--job_server_timeout", "--job-server-timeout")
    if is_portable(options) and not any(flag.startswith(names) for flag in getattr(options, "_flags", None) or ()):
        options.view_as(PortableOptions).job_server_timeout = _NO_TIMEOUT_SECONDS


def workers(options: PipelineOptions) -> str:
    """Returns the kind of workers of a portable runner: LOOPBACK, EXTERNAL, PROCESS or DOCKER."""
    given = options.view_as(PortableOptions).environment_type
    if given:
        return str(given).upper()
    # As the runners themselves decide.
    flink, spark = options.view_as(FlinkRunnerOptions), options.view_as(SparkRunnerOptions)
    is_local = {
        _PRISM: True,
        "flinkrunner": flink.flink_master in ("[auto]", "[local]"),
        "sparkrunner": spark.spark_master_url.startswith("local"),
    }
    return "LOOPBACK" if is_local.get(_name(options)) else "DOCKER"


def runs_here(options: PipelineOptions) -> bool:
    """Whether the job runs on this machine, where workers import the same packages as this process."""
    return _name(options) in _LOCAL


def elsewhere(options: PipelineOptions) -> str:
    """Returns the name of the runner, if it is on other machines; "" otherwise."""
    return "" if runs_here(options) else str(options.view_as(StandardOptions).runner)


def is_only_described(options: PipelineOptions) -> bool:
    """Whether Beam returns before there is a result: the job is only described, or is left running."""
    given = options.get_all_options()
    return bool(given["dry_run"] or given["template_location"] or given["no_wait_until_finish"])


def is_left_running(options: PipelineOptions) -> bool:
    """Whether the job is submitted, and this process does not wait for its end."""
    given = options.get_all_options()
    return bool(given["no_wait_until_finish"] and not given["dry_run"] and not given["template_location"])


def check(options: PipelineOptions, paths: Sequence[tuple[str, str]], name: str) -> None:
    """Checks what can be checked of a job on other machines, within seconds, before any work.

    Args:
        options: of the job.
        paths: that workers open, each behind the flag or the argument that names it.
        name: of what the job makes, for the name of the job.

    Raises:
        UserError: the job could not be submitted, or its workers could not do their work.
    """
    if is_dataflow(options):
        dataflow.check(options, paths, name)
        dataflow.check_services(options)


def submitted(options: PipelineOptions, result: PipelineResult, graph: str) -> str:
    """Returns lines about a job that was submitted: where it can be watched. "" where there is nothing to say.

    Args:
        options: of the job.
        result: of its submission.
        graph: the steps of its graph that say how far it is, and what they count.
    """
    if _name(options) != _DATAFLOW or not getattr(result, "has_job", False):
        return ""
    return dataflow.submitted(options, result.job_id(), graph)


def cancel_command(options: PipelineOptions, result: PipelineResult) -> str:
    """Returns the command that cancels a job that was submitted; "" where there is none."""
    if _name(options) != _DATAFLOW or not getattr(result, "has_job", False):
        return ""
    return dataflow.cancel(options, result.job_id())


def pipeline(runner: PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    """Returns an empty pipeline.

    Raises:
        UserError: Beam finds a mistake in its options.
    """
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        setup.save_main_session = False  # All steps are in modules, which workers import.
    try:
        return beam.Pipeline(runner=runner, options=options)
    except ValueError as error:
        raise UserError(f"Flags of Beam: {' '.join(str(error).split())}") from error


def stage(options: PipelineOptions, directory: str) -> None:
    """Adds this package to the packages that the workers of a remote runner install.

    Nothing is added if options name packages already, or an image, which has this package, or if workers install none.

    Args:
        options: of the job; changed.
        directory: for the file of the package, until the job is submitted.

    Raises:
        UserError: the package cannot be made here.
    """
    setup = options.view_as(SetupOptions)
    has_image = options.view_as(WorkerOptions).sdk_container_image
    if runs_here(options) or has_image or setup.setup_file or setup.extra_packages:
        return
    if is_portable(options) and workers(options) in _WITH_PACKAGES:
        return
    project = _CHECKOUT / "pyproject.toml"
    if project.exists():
        if not importlib.util.find_spec("build"):
            raise UserError(
                "Workers install this package, which is made of the checkout by the package `build`, and that is not "
                "installed: pip install build 'setuptools>=77'"
            )
        setup.setup_file = str(project)
    else:
        setup.extra_packages = [_wheel_of_installed(directory)]


def _name(options: PipelineOptions) -> str:
    """Returns the name of the runner's class in lower case; "" for the default."""
    name: str = options.view_as(StandardOptions).runner or ""
    return name.rsplit(".", 1)[-1].lower().removesuffix("runner") + "runner" if name else ""


def _wheel_of_installed(directory: str) -> str:
    """Zips the installed files into a wheel, and returns its path."""
    distribution = importlib.metadata.distribution(_DISTRIBUTION)
    path = posixpath.join(directory, f"{_DISTRIBUTION}-{distribution.version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in distribution.files or ():
            # Scripts lie outside of site-packages, and the worker's pip makes its own.
            if ".." not in file.parts and file.suffix != ".pyc":
                wheel.write(str(file.locate()), str(file))
    return path


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"Flags of Beam: {message}")


def _option_classes() -> list[type[PipelineOptions]]:
    """Returns the classes that define Beam's options."""
    return [
        value
        for value in vars(pipeline_options).values()
        if isinstance(value, type) and issubclass(value, PipelineOptions) and value is not PipelineOptions
    ]
