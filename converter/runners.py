"""Which runner a job runs on, with which of Beam's options, and the package of ours that its workers install."""

import argparse
import difflib
import importlib.metadata
import posixpath
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from schemas.errors import UserError

_DISTRIBUTION = "multihot"
_CHECKOUT = Path(__file__).resolve().parent.parent

# These hand options on to a job server, which has more of them than Beam's Python side knows.
_PORTABLE = ("flinkrunner", "portablerunner", "sparkrunner", "prismrunner")
# These run in this process, or on this machine, where the workers import what we import.
_LOCAL = ("", "fnapirunner", "directrunner", "bundlebaseddirectrunner", "switchingdirectrunner")


def parse(args: Sequence[str], known_flags: Iterable[str]) -> PipelineOptions:
    """Returns Beam's options for the flags that are not ours.

    Args:
        args: what the command line has beside our flags.
        known_flags: names of our flags, which a mistyped one may have meant.

    Raises:
        UserError: one of them is no option of Beam's; the message names the closest flag.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for cls in _option_classes():
        cls._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(list(args))
    portable = (known.runner or "").lower() in _PORTABLE
    names = [*known_flags, *(name.lstrip("-") for name in parser._option_string_actions)]
    for arg in unknown:
        if not arg.startswith("-"):
            if not portable:
                raise UserError(f"Unexpected argument {arg!r}: every argument is a flag, as in --csv=labels.csv")
            continue
        name = arg.lstrip("-").partition("=")[0]
        closest = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
        if closest:
            raise UserError(f"Unknown flag --{name}. Did you mean --{closest[0]}?")
        if not portable:
            raise UserError(f"Unknown flag --{name}. `python -m converter --help` lists ours; others are Beam's.")
    return PipelineOptions(list(args))


def runner(options: PipelineOptions) -> PipelineRunner:
    """Returns the runner of the options: by default the one that runs in this process.

    Beam's own default, DirectRunner, first tries to download a binary of another engine, and behind a firewall that
    never answers it waits for ever.

    Raises:
        UserError: there is no such runner, or a package that it needs is not installed.
    """
    name = options.view_as(StandardOptions).runner
    if not name:
        return FnApiRunner()
    try:
        return create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        extra = " Install it with: pip install 'multihot[gcp]'" if "dataflow" in name.lower() else ""
        raise UserError(f"--runner={name} is not available: {error}.{extra}") from error


def stage(options: PipelineOptions, directory: str) -> None:
    """Adds this package to what the workers of a remote runner install, unless the options say what they install.

    Args:
        options: of the job; changed.
        directory: where the package can be put until the job is submitted.
    """
    name = (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower()
    setup = options.view_as(SetupOptions)
    if name in _LOCAL or setup.setup_file or setup.extra_packages or setup.sdk_container_image:
        return
    project = _CHECKOUT / "pyproject.toml"
    if project.exists():
        setup.setup_file = str(project)
    else:
        setup.extra_packages = [_wheel_of_installed(directory)]


def _wheel_of_installed(directory: str) -> str:
    """Zips the installed files up again: that is what a wheel is."""
    distribution = importlib.metadata.distribution(_DISTRIBUTION)
    path = posixpath.join(directory, f"{_DISTRIBUTION}-{distribution.version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in distribution.files or ():
            # Scripts lie outside of site-packages, and the installer of the worker makes its own.
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
